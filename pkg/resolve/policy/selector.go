package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/verdict"
)

// nameLabel is on every namespace, and is its name (Kubernetes, "Namespaces").
const nameLabel = "kubernetes.io/metadata.name"

// maxSetName bounds the names of PeerSets, bytes; longer ones are hashes.
const maxSetName = 200

// selects tells whether a pod or a node is selected, as far as its namespace's labels are not asked for.
func (s *Selector) selects(id *Identity) bool {
	if s.Nodes != id.Node {
		return false
	}
	return (s.Namespaces == nil || slices.Contains(s.Namespaces, id.Namespace)) && meets(id.Labels, s.Labels) &&
		(s.ServiceAccounts == nil || slices.Contains(s.ServiceAccounts, id.ServiceAccount)) &&
		!slices.ContainsFunc(s.Names, func(q NameRequirement) bool { return !q.met(id) }) &&
		(s.Port == nil || slices.Contains(id.Ports, *s.Port))
}

// meets tells whether labels meet all requirements.
func meets(labels map[string]string, all []Requirement) bool {
	for i := range all {
		if !all[i].met(labels) {
			return false
		}
	}
	return true
}

func (q *Requirement) met(labels map[string]string) bool {
	v, has := labels[q.Key]
	switch q.Operator {
	case In:
		return has && slices.Contains(q.Values, v)
	case NotIn:
		return !has || !slices.Contains(q.Values, v)
	case Exists:
		return has
	case DoesNotExist:
		return !has
	}
	return false
}

// plain gives the selector with what else says the names of namespaces said by Namespaces: by these few are looked at.
func (s *Selector) plain() *Selector {
	out := *s
	out.NamespaceLabels, out.Names = nil, nil
	for _, q := range s.NamespaceLabels {
		if q.Key == nameLabel && q.Operator == In {
			out.only(q.Values)
		} else {
			out.NamespaceLabels = append(out.NamespaceLabels, q)
		}
	}
	for _, q := range s.Names {
		namespaces, whole := q.namespaces()
		if namespaces != nil {
			out.only(namespaces)
		}
		if !whole {
			out.Names = append(out.Names, q)
		}
	}
	return &out
}

// only narrows the selector to some namespaces.
func (s *Selector) only(namespaces []string) {
	some := []string{}
	for _, ns := range slices.Compact(slices.Sorted(slices.Values(namespaces))) {
		if s.Namespaces == nil || slices.Contains(s.Namespaces, ns) {
			some = append(some, ns)
		}
	}
	s.Namespaces = some
}

// namespaces are those of what meets the condition, nil when they are not known; whole tells that they are all it says.
func (q *NameRequirement) namespaces() (list []string, whole bool) {
	if q.Not {
		return nil, false
	}
	list = []string{}
	for _, p := range q.Patterns {
		if q.Of == OfPrincipal {
			rest, ok := strings.CutPrefix(p, "/ns/")
			if p, _, _ = strings.Cut(rest, "/"); !ok {
				return nil, false
			}
		}
		if strings.Contains(p, "*") {
			return nil, false
		}
		list = append(list, p)
	}
	return list, q.Of == OfNamespace
}

// name is the selector as text, in which the order of what it lists does not matter.
func (s *Selector) name() string {
	clean := true
	list := func(values []string) string {
		sorted := slices.Compact(slices.Sorted(slices.Values(values)))
		for _, v := range sorted {
			clean = clean && simple(v)
		}
		return strings.Join(sorted, "|")
	}
	parts := []string{"pods"}
	if s.Nodes {
		parts[0] = "nodes"
	}
	if s.Namespaces != nil {
		parts = append(parts, "ns:"+list(s.Namespaces))
	}
	requirements := func(prefix string, all []Requirement) {
		var out []string
		for _, q := range all {
			text := prefix + list([]string{q.Key})
			switch q.Operator {
			case In:
				text += "=" + list(q.Values)
			case NotIn:
				text += "!=" + list(q.Values)
			case DoesNotExist:
				text = prefix + "!" + q.Key
			case Exists:
			}
			out = append(out, text)
		}
		slices.Sort(out)
		parts = append(parts, slices.Compact(out)...)
	}
	requirements("ns-label:", s.NamespaceLabels)
	requirements("label:", s.Labels)
	if s.ServiceAccounts != nil {
		parts = append(parts, "sa:"+list(s.ServiceAccounts))
	}
	clean = clean && len(s.Names) == 0 // patterns are not simple
	if p := s.Port; p != nil {
		parts = append(parts, fmt.Sprintf("port:%s/%d=%d", list([]string{p.Name}), p.Protocol, p.Port))
	}
	text := strings.Join(parts, ";")
	if clean && len(text) <= maxSetName {
		return text
	}
	if !clean { // what it lists may look like something else
		var names []string
		for _, q := range s.Names {
			names = append(names, fmt.Sprintf("%s %t %q", q.Of, q.Not, q.Patterns))
		}
		text = fmt.Sprintf("%q %q %q %q %q %q %+v", parts[0], s.Namespaces, s.NamespaceLabels, s.Labels, s.ServiceAccounts, names, s.Port)
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256/" + hex.EncodeToString(sum[:16])
}

// simple tells whether text has no character of those that name uses.
func simple(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '/':
		default:
			return false
		}
	}
	return true
}

// The coarse keys under which identities are found, and policies by whom they are about: all of a namespace, or those there with a
// label; the namespace "*" is all.
func coarse(node bool, namespace, label, value string) string {
	kind := "pod "
	if node {
		kind = "node "
	}
	if label == "" {
		return kind + namespace
	}
	return kind + namespace + " " + label + "=" + value
}

const anyNamespace = "*"

// coarseKeys are all keys that an identity is found under.
func (id *Identity) coarseKeys() []string {
	out := make([]string, 0, 2*len(id.Labels)+2)
	for _, ns := range []string{id.Namespace, anyNamespace} {
		out = append(out, coarse(id.Node, ns, "", ""))
		for k, v := range id.Labels {
			out = append(out, coarse(id.Node, ns, k, v))
		}
	}
	return out
}

// within are the narrowest keys that have, together, all that the selector selects in some namespaces; nil is all of them.
func (s *Selector) within(namespaces []string) []string {
	if namespaces == nil {
		namespaces = []string{anyNamespace}
	}
	var best *Requirement
	for i := range s.Labels {
		if q := &s.Labels[i]; q.Operator == In && (best == nil || len(q.Values) < len(best.Values)) {
			best = q
		}
	}
	var out []string
	for _, ns := range namespaces {
		if best == nil {
			out = append(out, coarse(s.Nodes, ns, "", ""))
			continue
		}
		for _, v := range best.Values {
			out = append(out, coarse(s.Nodes, ns, best.Key, v))
		}
	}
	return out
}

// hidden gives the labels that a selector asks for and that do not count.
func (s *Selector) hidden(f verdict.Filter) []string {
	var out []string
	for _, q := range s.Labels {
		if !s.Nodes && !f.Counts(q.Key) {
			out = append(out, q.Key)
		}
	}
	return out
}

// without is the selector without what it says of some labels: it selects no less.
func (s *Selector) without(labels []string) *Selector {
	out := *s
	out.Labels = slices.DeleteFunc(slices.Clone(s.Labels), func(q Requirement) bool { return slices.Contains(labels, q.Key) })
	return &out
}

func (q Requirement) compare(o Requirement) int {
	return cmp.Or(strings.Compare(q.Key, o.Key), strings.Compare(string(q.Operator), string(o.Operator)), slices.Compare(q.Values, o.Values))
}
