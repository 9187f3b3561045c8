package resolve

import (
	"maps"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve/policy"
	"fairlead.io/fairlead/pkg/table"
)

// Residents are the pods that are bound to a node and have not finished, and what else says which identities a node may
// hold. What the pods are is of the urgent lane: an agent is to know a pod before its containers start.
type Residents struct {
	// Pods are by the pod's key; an unbound pod has no row, nor has a static one: a node that could have identities signed for
	// pods that it made up would have those of every namespace.
	Pods *table.Derived[*Resident]
	// ByUID are these and the static ones, by "<uid> node/<node>": policy is for all.
	ByUID *table.Index[*Resident]
	// Places are the "<node>/<namespace>/<service account>" that have such a pod.
	Places *table.Derived[bool]
	// Accounts are the "<namespace>/<service account>" that have such a pod on any node.
	Accounts *table.Derived[bool]
	// NodeUIDs are the UIDs of the cluster's nodes, by name.
	NodeUIDs *table.Derived[string]
	// Selectors are the Services that select pods, by key.
	Selectors *table.Derived[*Selector]
	// Gateways are the Gateways of the Gateway API that have something to serve, by key.
	Gateways *table.Derived[bool]
}

// Resident is a pod that runs on a node, as far as its identity goes.
type Resident struct {
	// ServiceAccount is empty for a static pod, which has none.
	UID, Namespace, Name, ServiceAccount, Node string
	// Identity is the pod's in policy; empty for one that uses its node's network.
	Identity    string
	Addresses   []string
	HostNetwork bool
	Labels      map[string]string
}

func (p *Resident) equal(o *Resident) bool {
	return p.UID == o.UID && p.Namespace == o.Namespace && p.Name == o.Name && p.ServiceAccount == o.ServiceAccount && p.Node == o.Node &&
		p.Identity == o.Identity && p.HostNetwork == o.HostNetwork && slices.Equal(p.Addresses, o.Addresses) && maps.Equal(p.Labels, o.Labels)
}

// Selector is a Service by what it selects.
type Selector struct {
	Namespace, Name string
	Labels          map[string]string
}

// Selects tells whether the Service has the pod as a backend.
func (s *Selector) Selects(p *Resident) bool {
	return s.Namespace == p.Namespace && len(s.Labels) > 0 && subset(s.Labels, p.Labels)
}

func newResidents(e *table.Engine, in *Inputs, pods *table.Derived[*policy.Pod]) *Residents {
	out := &Residents{}
	bound := table.NewDerived(e, "bound pods", func(r *table.Reader, key string) (*Resident, bool) {
		p, ok := table.Get(r, in.Pods, key)
		if !ok || p.Node == "" {
			return nil, false
		}
		out := resident(p)
		if v, known := table.Get(r, pods, key); known {
			out.Identity = v.Identity
		}
		return out, true
	}, []table.Trigger{in.Pods}, table.UrgentStage(), table.Equal((*Resident).equal))
	out.Pods = table.NewDerived(e, "residents", func(r *table.Reader, key string) (*Resident, bool) {
		p, ok := table.Get(r, bound, key)
		return p, ok && p.ServiceAccount != ""
	}, []table.Trigger{bound}, table.UrgentStage(), table.Equal((*Resident).equal))
	out.ByUID = table.NewIndex(bound, "bound pods by uid", func(_ string, p *Resident) []string {
		if p.UID == "" || strings.Contains(p.UID, " ") { // only a folder's could
			return nil
		}
		return []string{p.UID + " node/" + p.Node}
	})
	byPlace := table.NewIndex(out.Pods, "residents by place", func(_ string, p *Resident) []string {
		return []string{Place(p.Node, p.Namespace, p.ServiceAccount)}
	})
	out.Places = table.NewDerived(e, "inhabited places", func(r *table.Reader, key string) (bool, bool) {
		return true, table.Any(r, byPlace, key)
	}, []table.Trigger{byPlace}, table.UrgentStage())
	byAccount := table.NewIndex(out.Pods, "residents by account", func(_ string, p *Resident) []string {
		return []string{model.Key(p.Namespace, p.ServiceAccount)}
	})
	out.Accounts = table.NewDerived(e, "inhabited accounts", func(r *table.Reader, key string) (bool, bool) {
		return true, table.Any(r, byAccount, key)
	}, []table.Trigger{byAccount}, table.UrgentStage())
	return out
}

// Place is the key of a place.
func Place(node, namespace, serviceAccount string) string {
	return node + "/" + namespace + "/" + serviceAccount
}

func resident(p *model.Pod) *Resident {
	out := &Resident{
		UID: p.UID, Namespace: p.Namespace, Name: p.Name, ServiceAccount: p.ServiceAccount, Node: p.Node,
		HostNetwork: p.HostNetwork, Labels: p.Labels,
	}
	switch {
	case p.Static:
		out.ServiceAccount = ""
	case out.ServiceAccount == "":
		out.ServiceAccount = "default"
	}
	for _, a := range p.Addresses {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out
}

// declareRest declares what is not urgent, after the Gateways.
func (s *Residents) declareRest(e *table.Engine, in *Inputs, api *GatewayAPI) {
	s.NodeUIDs = table.NewDerived(e, "uids of nodes", func(r *table.Reader, name string) (string, bool) {
		n, ok := table.Get(r, in.Nodes, name)
		if !ok {
			return "", false
		}
		return n.UID, true
	}, []table.Trigger{in.Nodes})
	s.Selectors = table.NewDerived(e, "selectors of services", func(r *table.Reader, key string) (*Selector, bool) {
		svc, ok := table.Get(r, in.Services, key)
		if !ok || len(svc.Selector) == 0 || svc.Type == "ExternalName" {
			return nil, false
		}
		return &Selector{Namespace: svc.Namespace, Name: svc.Name, Labels: svc.Selector}, true
	}, []table.Trigger{in.Services}, table.Equal(func(a, b *Selector) bool {
		return a.Namespace == b.Namespace && a.Name == b.Name && maps.Equal(a.Labels, b.Labels)
	}))
	s.Gateways = table.NewDerived(e, "served gateways", func(r *table.Reader, key string) (bool, bool) {
		g, ok := table.Get(r, api.Gateways, key)
		return true, ok && len(g.Servers) > 0
	}, []table.Trigger{api.Gateways})
}
