package filter

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/api/observe/flow"
)

// Scope is what an observer may see. Its zero value is nothing.
type Scope struct {
	// All is every flow.
	All bool
	// Namespaces are those of whose pods flows may be seen.
	Namespaces []string
}

// Show gives what may be seen of a flow, nil when that is nothing. A flow between a pod of a Namespace and one of another is seen
// with the other's namespace and address, and without its name, identity, labels, owner and policies. Filters are kept
// after this: one that could look at what is hidden would tell it.
func (s *Scope) Show(f *flow.Flow) *flow.Flow {
	if s.All {
		return f
	}
	source, destination := s.sees(f.GetSource()), s.sees(f.GetDestination())
	if !source && !destination {
		return nil
	}
	if (source || !pod(f.GetSource())) && (destination || !pod(f.GetDestination())) && s.knows(f) {
		return f
	}
	out := proto.CloneOf(f)
	if !source && pod(f.GetSource()) {
		out.Source, out.SourceNames, out.SourceService = &flow.Endpoint{Namespace: f.GetSource().GetNamespace()}, nil, nil
	}
	if !destination && pod(f.GetDestination()) {
		out.Destination, out.DestinationNames, out.DestinationService = &flow.Endpoint{Namespace: f.GetDestination().GetNamespace()}, nil, nil
	}
	if !s.knows(f) {
		out.PolicyLog = nil
		for _, l := range lists(out) {
			*l = slices.DeleteFunc(*l, func(p *flow.Policy) bool { return !s.policy(p) })
		}
	}
	return out
}

func pod(e *flow.Endpoint) bool { return e.GetNamespace() != "" }

func (s *Scope) sees(e *flow.Endpoint) bool {
	return pod(e) && slices.Contains(s.Namespaces, e.GetNamespace())
}

// knows tells whether all policies of a flow may be named.
func (s *Scope) knows(f *flow.Flow) bool {
	return !slices.ContainsFunc(lists(f), func(l *[]*flow.Policy) bool {
		return slices.ContainsFunc(*l, func(p *flow.Policy) bool { return !s.policy(p) })
	})
}

// policy tells whether a policy may be named: one of a Namespace, or of the whole cluster.
func (s *Scope) policy(p *flow.Policy) bool {
	return p.GetNamespace() == "" || slices.Contains(s.Namespaces, p.GetNamespace())
}

func lists(f *flow.Flow) []*[]*flow.Policy {
	return []*[]*flow.Policy{&f.EgressAllowedBy, &f.EgressDeniedBy, &f.IngressAllowedBy, &f.IngressDeniedBy}
}

// Namespaces gives those that every flow of a list of filters has a pod of, sorted; false when a filter asks for more. It is what
// an observer of some namespaces has to ask for.
func Namespaces(whitelist []*flow.FlowFilter) ([]string, bool) {
	var out []string
	for _, f := range whitelist {
		source, ok := namespaces(f.GetSourcePod())
		if !ok {
			if source, ok = namespaces(f.GetDestinationPod()); !ok {
				return nil, false
			}
		}
		out = append(out, source...)
	}
	slices.Sort(out)
	return slices.Compact(out), len(out) > 0
}

func namespaces(list []string) (out []string, ok bool) {
	for _, s := range list {
		p, err := ParsePod(s)
		if err != nil || p.Namespace == "" {
			return nil, false
		}
		out = append(out, p.Namespace)
	}
	return out, len(out) > 0
}
