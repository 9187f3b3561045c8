package policy

import (
	"fmt"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/verdict"
)

// closed refuses selectors by labels that do not count: what would be denied stays so, and what would be allowed is not.
func closed(p *Policy, f verdict.Filter) *Policy {
	out := *p
	out.Notes, out.Subjects, out.Rules = slices.Clone(p.Notes), nil, nil
	blind := false
	for i := range p.Subjects {
		s := p.Subjects[i].plain()
		if labels := s.hidden(f); len(labels) > 0 {
			out.Notes = append(out.Notes, hiddenNote("spec", labels))
			s, blind = s.without(labels), true
		}
		out.Subjects = append(out.Subjects, *s)
	}
	for _, rule := range p.Rules {
		if blind && rule.Action == verdict.Allow && rule.Name != "" {
			continue // more would be allowed than the author meant; what its kind always allows is no rule of the author's
		}
		if rule.Action == verdict.Pass && (blind || passesHidden(&rule, f)) {
			rule.Action = verdict.Deny // what comes behind it may allow what the author did not
		}
		peers := rule.Peers
		rule.Peers = nil
		for _, peer := range peers {
			if peer.Pods != nil {
				s := peer.Pods.plain()
				if labels := s.hidden(f); len(labels) > 0 {
					out.Notes = append(out.Notes, hiddenNote(pathOf(&rule), labels))
					if rule.Action != verdict.Deny {
						continue
					}
					s = s.without(labels)
				}
				peer.Pods = s
			}
			rule.Peers = append(rule.Peers, peer)
		}
		out.Rules = append(out.Rules, rule)
	}
	return &out
}

// passesHidden tells whether a rule names pods by labels that do not count.
func passesHidden(rule *Rule, f verdict.Filter) bool {
	return slices.ContainsFunc(rule.Peers, func(p Peer) bool { return p.Pods != nil && len(p.Pods.hidden(f)) > 0 })
}

// pathOf is where a rule stands, by the name that its author counts it by.
func pathOf(rule *Rule) string {
	name, _, _ := strings.Cut(rule.Name, " ")
	if strings.HasPrefix(name, "specs[") {
		return name
	}
	return "spec." + name
}

func hiddenNote(path string, labels []string) Note {
	return Note{
		Refused: true, Reason: ReasonUnsupported, Path: path,
		Message: fmt.Sprintf("pods are not selected by %s, which is no part of their identity; nothing is allowed by it: select by other labels",
			strings.Join(labels, ", ")),
	}
}
