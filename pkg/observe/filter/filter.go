// Package filter says which flows an observer asks for, and which it may see.
//
//	kernel ─► node/flows ─► filter ─► observe/relay ─► filter ─► cmd
//
// It stands beside the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK, where the
// node tells what became of it. Filters are those of Hubble (api/observe/flow); one that cannot be kept is refused, because a
// filter that is passed over shows more than was asked for.
package filter

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"fairlead.io/fairlead/api/observe/flow"
)

// Filter says which flows are asked for. Its zero value is all of them.
type Filter struct{ whitelist, blacklist []all }

// test tells whether a flow meets one condition, all whether it meets every one.
type (
	test func(*flow.Flow) bool
	all  []test
)

// limit bounds how many filters a request has: each is looked at for every flow.
const limit = 256

// New gives a Filter for flows that meet one of whitelist, where there is any, and none of blacklist. The error says what to
// write instead.
func New(whitelist, blacklist []*flow.FlowFilter) (*Filter, error) {
	if len(whitelist)+len(blacklist) > limit {
		return nil, fmt.Errorf("filter flows: %d filters are more than %d", len(whitelist)+len(blacklist), limit)
	}
	f := &Filter{}
	for _, l := range []struct {
		from []*flow.FlowFilter
		to   *[]all
	}{{whitelist, &f.whitelist}, {blacklist, &f.blacklist}} {
		for _, x := range l.from {
			tests, err := compile(x)
			if err != nil {
				return nil, fmt.Errorf("filter flows: %w", err)
			}
			*l.to = append(*l.to, tests)
		}
	}
	return f, nil
}

// Match tells whether a flow is asked for.
func (f *Filter) Match(x *flow.Flow) bool {
	met := func(a all) bool { return a.match(x) }
	return (len(f.whitelist) == 0 || slices.ContainsFunc(f.whitelist, met)) && !slices.ContainsFunc(f.blacklist, met)
}

func (a all) match(f *flow.Flow) bool {
	return !slices.ContainsFunc(a, func(t test) bool { return !t(f) })
}

// compile makes a test of every field that is set.
func compile(f *flow.FlowFilter) (out all, err error) {
	m := f.ProtoReflect()
	if len(m.GetUnknown()) > 0 {
		return nil, fmt.Errorf("there is a field that is not known here: the client is newer, or of another kind")
	}
	m.Range(func(d protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		var t test
		if t, err = field(f, d.Name()); err != nil {
			err = fmt.Errorf("%s: %w", d.Name(), err)
			return false
		}
		out = append(out, t)
		return true
	})
	return out, err
}

// field makes the test of one field.
func field(f *flow.FlowFilter, name protoreflect.Name) (test, error) {
	switch name {
	case "uuid":
		return in(f.GetUuid(), (*flow.Flow).GetUuid), nil
	case "source_ip":
		return addresses(f.GetSourceIp(), func(x *flow.Flow) string { return x.GetIP().GetSource() })
	case "destination_ip":
		return addresses(f.GetDestinationIp(), func(x *flow.Flow) string { return x.GetIP().GetDestination() })
	case "source_pod":
		return pods(f.GetSourcePod(), (*flow.Flow).GetSource)
	case "destination_pod":
		return pods(f.GetDestinationPod(), (*flow.Flow).GetDestination)
	case "source_label":
		return selectors(f.GetSourceLabel(), func(x *flow.Flow) []string { return x.GetSource().GetLabels() })
	case "destination_label":
		return selectors(f.GetDestinationLabel(), func(x *flow.Flow) []string { return x.GetDestination().GetLabels() })
	case "node_labels":
		return selectors(f.GetNodeLabels(), (*flow.Flow).GetNodeLabels)
	case "source_workload":
		return workloads(f.GetSourceWorkload(), (*flow.Flow).GetSource), nil
	case "destination_workload":
		return workloads(f.GetDestinationWorkload(), (*flow.Flow).GetDestination), nil
	case "source_identity":
		return in(f.GetSourceIdentity(), func(x *flow.Flow) uint32 { return x.GetSource().GetIdentity() }), nil
	case "destination_identity":
		return in(f.GetDestinationIdentity(), func(x *flow.Flow) uint32 { return x.GetDestination().GetIdentity() }), nil
	case "traffic_direction":
		return in(f.GetTrafficDirection(), (*flow.Flow).GetTrafficDirection), nil
	case "verdict":
		return in(f.GetVerdict(), (*flow.Flow).GetVerdict), nil
	case "drop_reason_desc":
		return in(f.GetDropReasonDesc(), (*flow.Flow).GetDropReasonDesc), nil
	case "ip_version":
		return in(f.GetIpVersion(), func(x *flow.Flow) flow.IPVersion { return x.GetIP().GetIpVersion() }), nil
	}
	return packetField(f, name)
}

// packetField makes the test of a field that is about the packet or the node.
func packetField(f *flow.FlowFilter, name protoreflect.Name) (test, error) {
	switch name {
	case "protocol":
		return protocols(f.GetProtocol())
	case "source_port":
		return ports(f.GetSourcePort(), func(s, _ uint32) uint32 { return s })
	case "destination_port":
		return ports(f.GetDestinationPort(), func(_, d uint32) uint32 { return d })
	case "tcp_flags":
		return flags(f.GetTcpFlags()), nil
	case "reply":
		return func(x *flow.Flow) bool {
			return x.IsReply != nil && slices.Contains(f.GetReply(), x.GetIsReply().GetValue())
		}, nil
	case "event_type":
		return events(f.GetEventType()), nil
	case "interface":
		return interfaces(f.GetInterface()), nil
	case "node_name":
		return nodes(f.GetNodeName())
	}
	return nil, fmt.Errorf("flows here have nothing that this filter could look at")
}

// in tests whether a value is one of a list.
func in[T comparable](list []T, of func(*flow.Flow) T) test {
	return func(f *flow.Flow) bool { return slices.Contains(list, of(f)) }
}
