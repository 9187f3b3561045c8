package main

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// errTaken says that a side has been said already what it must be, by another flag.
var errTaken = errors.New("another flag is about that side already")

// sides are flags about one end of a flow, as written.
type sides struct{ namespaces, pods, labels, identities, workloads, addresses, ports []string }

func (s *sides) empty() bool {
	return len(s.namespaces)+len(s.pods)+len(s.labels)+len(s.identities)+len(s.workloads)+len(s.addresses)+len(s.ports) == 0
}

// put says in a filter what the source, or the destination, must be; flag is the beginning of the flags' names.
func (s *sides) put(f *flow.FlowFilter, source bool, flag string) error {
	pods, err := s.podNames(flag)
	if err != nil {
		return err
	}
	identities := []uint32(nil)
	for _, i := range s.identities {
		n, err := identityNumber(flag, i)
		if err != nil {
			return err
		}
		identities = append(identities, n)
	}
	workloads := []*flow.Workload(nil)
	for _, w := range s.workloads {
		kind, name, ok := strings.Cut(w, "/")
		if !ok {
			kind, name = "", w
		}
		workloads = append(workloads, &flow.Workload{Kind: kind, Name: name})
	}
	end := &flow.FlowFilter{
		DestinationPod: pods, DestinationLabel: s.labels, DestinationIdentity: identities, DestinationWorkload: workloads,
		DestinationIp: s.addresses, DestinationPort: s.ports,
	}
	if source {
		end = &flow.FlowFilter{
			SourcePod: pods, SourceLabel: s.labels, SourceIdentity: identities, SourceWorkload: workloads, SourceIp: s.addresses, SourcePort: s.ports,
		}
	}
	end.ProtoReflect().Range(func(d protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if f.ProtoReflect().Has(d) {
			err = errTaken
		}
		return err == nil
	})
	if err == nil {
		proto.Merge(f, end)
	}
	return err
}

// podNames are filters for pods: of each namespace, of each pod in it.
func (s *sides) podNames(flag string) (out []string, err error) {
	for _, n := range s.namespaces {
		if n == "" || strings.Contains(n, "/") {
			return nil, fmt.Errorf("--%snamespace=%s: use the name of a namespace", flag, n)
		}
		if len(s.pods) == 0 {
			out = append(out, n+"/")
		}
	}
	for _, p := range s.pods {
		if strings.Contains(p, "/") {
			if _, err := filter.ParsePod(p); err != nil {
				return nil, fmt.Errorf("--%spod: %w", flag, err)
			}
			out = append(out, p)
			continue
		}
		if len(s.namespaces) == 0 {
			out = append(out, "/"+p)
		}
		for _, n := range s.namespaces {
			out = append(out, n+"/"+p)
		}
	}
	return out, nil
}

// eachSide gives a filter for either side of each, of which those that contradict are left out.
func eachSide(list []*flow.FlowFilter, s *sides) (out []*flow.FlowFilter, err error) {
	if s.empty() {
		return list, nil
	}
	for _, f := range list {
		for _, source := range []bool{true, false} {
			x := proto.CloneOf(f)
			if err := s.put(x, source, ""); errors.Is(err, errTaken) {
				continue
			} else if err != nil {
				return nil, err
			}
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("flags about either side leave no side that flags with from- and to- say nothing about: use those alone")
	}
	return out, nil
}
