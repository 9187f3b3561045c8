package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
	"fairlead.io/fairlead/pkg/verdict/wire"
)

// rig is the tables on an engine of their own.
type rig struct {
	engine  *table.Engine
	in      Inputs
	tables  *Tables
	sets    *table.Output[*verdict.Set]
	members *table.Output[[]string]
	pods    *table.Output[*Pod]
	peers   *table.Output[*Endpoint]
	version int
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	e := table.New(table.Options{Strict: true})
	r := &rig{engine: e, in: Inputs{
		Namespaces: table.NewSource[*model.Namespace](e, "namespaces"), Nodes: table.NewSource[*model.Node](e, "nodes"),
		Pods: table.NewSource[*model.Pod](e, "pods", table.Urgent()), Services: table.NewSource[*model.Service](e, "services"),
		EndpointSlices:                   table.NewSource[*model.EndpointSlice](e, "endpointslices", table.Urgent()),
		NetworkPolicies:                  table.NewSource[*model.Object[networkingv1.NetworkPolicySpec]](e, "networkpolicies"),
		ClusterNetworkPolicies:           table.NewSource[*model.Object[policyv1alpha2.ClusterNetworkPolicySpec]](e, "clusternetworkpolicies"),
		CiliumNetworkPolicies:            table.NewSource[*model.Object[ciliumv2.Rules]](e, "ciliumnetworkpolicies"),
		CiliumClusterwideNetworkPolicies: table.NewSource[*model.Object[ciliumv2.Rules]](e, "ciliumclusterwidenetworkpolicies"),
		AuthorizationPolicies:            table.NewSource[*model.Object[v1alpha1.AuthorizationPolicySpec]](e, "authorizationpolicies"),
	}}
	r.tables = New(e, Config{TrustDomain: "mesh.example", Labels: verdict.Filter{Without: verdict.Generated()}}, r.in)
	r.sets, r.members = table.Publish(r.tables.Sets), table.Publish(r.tables.PeerSets)
	r.pods, r.peers = table.Publish(r.tables.Pods), table.Publish(r.tables.Peers)
	return r
}

// apply runs one pass.
func (r *rig) apply(objects ...any) {
	r.version++
	b := r.engine.NewBatch()
	for _, o := range objects {
		r.put(b, o, true)
	}
	b.Position(uint64(r.version))
	r.engine.Apply(b)
}

func put[V interface{ Key() string }](b *table.Batch, t *table.Source[V], o V, there bool) {
	if there {
		t.Set(b, o.Key(), o)
	} else {
		t.Delete(b, o.Key())
	}
}

func (r *rig) put(b *table.Batch, o any, there bool) {
	switch o := o.(type) {
	case *model.Namespace:
		put(b, r.in.Namespaces, o, there)
	case *model.Node:
		put(b, r.in.Nodes, o, there)
	case *model.Pod:
		put(b, r.in.Pods, o, there)
	case *model.Service:
		put(b, r.in.Services, o, there)
	case *model.EndpointSlice:
		put(b, r.in.EndpointSlices, o, there)
	case *model.Object[networkingv1.NetworkPolicySpec]:
		put(b, r.in.NetworkPolicies, o, there)
	case *model.Object[policyv1alpha2.ClusterNetworkPolicySpec]:
		put(b, r.in.ClusterNetworkPolicies, o, there)
	case *model.Object[ciliumv2.Rules]:
		if o.Kind == "CiliumClusterwideNetworkPolicy" {
			put(b, r.in.CiliumClusterwideNetworkPolicies, o, there)
		} else {
			put(b, r.in.CiliumNetworkPolicies, o, there)
		}
	case *model.Object[v1alpha1.AuthorizationPolicySpec]:
		put(b, r.in.AuthorizationPolicies, o, there)
	default:
		panic(o)
	}
}

// identity is that of a pod, by its key.
func (r *rig) identity(key string) string {
	p, _ := r.pods.Get(r.engine.Snapshot(), key)
	if p == nil {
		return ""
	}
	return p.Identity
}

// set is what a node is told of an identity, as it reads it.
func (r *rig) set(tb testing.TB, identity string) *verdict.Set {
	tb.Helper()
	made, ok := r.sets.Get(r.engine.Snapshot(), identity)
	if !ok {
		tb.Fatalf("no set for %q", identity)
	}
	read, err := wire.Decode(wire.Encode(made))
	if err != nil {
		tb.Fatal(err)
	}
	return read
}

// in is verdict.Members.
func (r *rig) memberOf(set, identity string) bool {
	list, ok := r.members.Get(r.engine.Snapshot(), set)
	if !ok {
		panic("no peer set " + set)
	}
	return slices.Contains(list, identity)
}

func (r *rig) remote(p *party) verdict.Remote {
	out := verdict.Remote{Address: p.address, Entities: p.entities}
	switch {
	case p.pod():
		out.Identity, out.Namespace = r.identity(p.name), p.namespace
	case strings.HasPrefix(p.name, "node/"):
		out.Identity = p.name
	}
	return out
}

// inhabit makes the objects of the world that random policies are judged in.
func (r *rig) inhabit(parties []*party) {
	var all []any
	for name, labels := range specNamespaces {
		all = append(all, &model.Namespace{Meta: model.Meta{Ref: model.Ref{Kind: "Namespace", Name: name}, Labels: labels}})
	}
	for _, p := range parties {
		switch {
		case p.pod():
			all = append(all, podFor(p))
		case strings.HasPrefix(p.name, "node/"):
			all = append(all, &model.Node{
				Meta: model.Meta{Ref: model.Ref{Kind: "Node", Name: p.name[len("node/"):]}, Labels: p.labels}, Addresses: []netip.Addr{p.address},
			})
		}
	}
	r.apply(all...)
}

func podFor(p *party) *model.Pod {
	out := &model.Pod{Node: "a", ServiceAccount: p.account, Addresses: []netip.Addr{p.address}}
	out.Kind, out.Namespace, out.Name = "Pod", p.namespace, p.name[len(p.namespace)+1:]
	out.UID, out.Labels = "uid-"+strings.ReplaceAll(p.name, "/", "-"), p.labels
	for _, n := range p.ports {
		protocol := map[uint8]string{TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}[n.Protocol]
		out.Ports = append(out.Ports, model.ContainerPort{Name: n.Name, Protocol: protocol, Number: n.Port})
	}
	return out
}

// judged tries all packets between the pods and everybody by the sets, and tells how many are allowed.
func (r *rig) judged(tb testing.TB, parties []*party, f verdict.Family, want func(d verdict.Direction, subject, other *party, protocol uint8, port uint16) bool,
	differ func(d verdict.Direction, subject, other *party, protocol uint8, port uint16, got verdict.Decision),
) (allowed, all int) {
	tb.Helper()
	for _, subject := range parties {
		if !subject.pod() {
			continue
		}
		set := r.set(tb, r.identity(subject.name))
		for _, other := range parties {
			if subject == other {
				continue
			}
			for _, d := range []verdict.Direction{verdict.Egress, verdict.Ingress} {
				for _, k := range packets {
					got := set.Judge(d, f, r.remote(other), k.protocol, k.port, r.memberOf)
					if got.Allowed != want(d, subject, other, k.protocol, k.port) {
						differ(d, subject, other, k.protocol, k.port, got)
					}
					all++
					if got.Allowed {
						allowed++
					}
				}
			}
		}
	}
	return allowed, all
}

func named(kind, namespace string, n int) model.Meta {
	return model.Meta{Ref: model.Ref{Group: groupOf[kind], Kind: kind, Namespace: namespace, Name: "p" + strconv.Itoa(n)}, UID: kind + strconv.Itoa(n)}
}

var groupOf = map[string]string{
	"NetworkPolicy": model.NetworkingGroup, "ClusterNetworkPolicy": model.NetworkPolicyGroup, "CiliumNetworkPolicy": model.CiliumGroup,
	"AuthorizationPolicy": model.Group,
}
