package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
)

// Endpoint is a pod, a node or an API server by its addresses.
type Endpoint struct {
	Identity, Namespace, Name, Node, Workload string
	Addresses                                 []netip.Addr
	Entities                                  verdict.Entity
	Labels                                    map[string]string
	Ref                                       model.Ref
}

// Equal compares all fields.
func (p *Endpoint) Equal(o *Endpoint) bool {
	return p.Identity == o.Identity && p.Namespace == o.Namespace && p.Name == o.Name && p.Node == o.Node && p.Workload == o.Workload &&
		p.Entities == o.Entities && p.Ref == o.Ref && slices.Equal(p.Addresses, o.Addresses) && maps.Equal(p.Labels, o.Labels)
}

const apiServer = "kube-apiserver/"

// peers are the tables that Endpoints are made from.
type peers struct {
	in        Inputs
	byUID     *table.Index[*Pod]
	pods      *table.Index[*Pod]                 // by address
	nodes     *table.Index[*model.Node]          // by address
	apiServer *table.Index[*model.EndpointSlice] // by "kube-apiserver/<address>"
}

func newPeers(e *table.Engine, in Inputs, pods *table.Derived[*Pod]) *table.Derived[*Endpoint] {
	p := &peers{in: in}
	p.byUID = table.NewIndex(pods, "peers by uid", func(_ string, p *Pod) []string {
		// Without a network of its own it is the node; only a folder's UID could have a space or a slash.
		if p.Identity == "" || len(p.Addresses) == 0 || strings.ContainsAny(p.UID, " /") {
			return nil
		}
		return nonEmpty(p.UID)
	})
	p.pods = table.NewIndex(pods, "peers by address", func(_ string, p *Pod) []string {
		if p.Identity == "" {
			return nil
		}
		return texts("", p.Addresses)
	})
	p.nodes = table.NewIndex(in.Nodes, "nodes by address", func(_ string, n *model.Node) []string { return texts("", n.Addresses) })
	p.apiServer = table.NewIndex(in.EndpointSlices, "addresses of the API server", func(_ string, s *model.EndpointSlice) []string {
		var out []string
		if s.Namespace == "default" && s.Service == "kubernetes" {
			for i := range s.Endpoints {
				out = append(out, texts(apiServer, s.Endpoints[i].Addresses)...)
			}
		}
		return out
	})
	names := table.NewIndex(in.Nodes, "peers by node", func(name string, _ *model.Node) []string { return []string{verdict.NodeIdentity(name)} })
	return table.NewDerived(e, "peers", p.of, []table.Trigger{p.byUID, names, p.apiServer}, table.UrgentStage())
}

func (p *peers) of(r *table.Reader, key string) (*Endpoint, bool) {
	if name, ok := strings.CutPrefix(key, verdict.NodeIdentity("")); ok {
		n, found := table.Get(r, p.in.Nodes, name)
		if !found {
			return nil, false
		}
		return &Endpoint{
			Identity: key, Name: name, Node: name, Addresses: n.Addresses, Labels: n.Labels, Ref: n.Ref,
			Entities: verdict.All | verdict.RemoteNode | p.serves(r, n.Addresses),
		}, true
	}
	if address, ok := strings.CutPrefix(key, apiServer); ok {
		a, err := netip.ParseAddr(address)
		if err != nil || table.Any(r, p.nodes, address) || table.Any(r, p.pods, address) {
			return nil, false // they have the entity themselves
		}
		return &Endpoint{
			Name: "kubernetes", Addresses: []netip.Addr{a}, Entities: verdict.All | verdict.World | verdict.KubeAPIServer,
			Ref: model.Ref{Kind: "Service", Namespace: "default", Name: "kubernetes"},
		}, true
	}
	for _, e := range table.List(r, p.byUID, key) {
		v := e.Value
		return &Endpoint{
			Identity: v.Identity, Namespace: v.Namespace, Name: v.Name, Node: v.Node, Workload: v.Workload, Addresses: v.Addresses, Labels: v.Labels,
			Ref:      model.Ref{Kind: "Pod", Namespace: v.Namespace, Name: v.Name},
			Entities: verdict.All | verdict.Pods | p.serves(r, v.Addresses),
		}, true
	}
	return nil, false
}

// serves tells whether the API server listens at one of the addresses.
func (p *peers) serves(r *table.Reader, addresses []netip.Addr) verdict.Entity {
	for _, key := range texts(apiServer, addresses) {
		if table.Any(r, p.apiServer, key) {
			return verdict.KubeAPIServer
		}
	}
	return 0
}

func texts(prefix string, addresses []netip.Addr) []string {
	out := make([]string, len(addresses))
	for i, a := range addresses {
		out[i] = prefix + a.String()
	}
	return out
}
