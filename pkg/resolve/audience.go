package resolve

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// widest is how many hosts an audience may name. A cluster that more hosts lead to is sent to everyone: looking through a
// long list for every node would cost more than the cluster.
const widest = 32

// Audiences say who needs a cluster beside those that see its host: whoever can be routed to it by another name.
type Audiences struct {
	// Clusters is keyed by the cluster's name; nil is everyone. A cluster that only its own host leads to has no row.
	Clusters *table.Derived[*model.Audience]

	frontends   *table.Index[*model.Frontend]
	named       *table.Index[*model.VirtualHost]
	gateways    *table.Index[*model.VirtualHost]
	connections []*table.Index[*RouteState]
}

// newAudiences indexes by cluster whatever refers to one.
func newAudiences(e *table.Engine, res *Resolved) *Audiences {
	a := &Audiences{
		frontends: table.NewIndex(res.Outbound.Frontends, "clusters of frontends", foreignClusters),
		named: table.NewIndex(res.Outbound.Named, "clusters of named hosts", func(_ string, v *model.VirtualHost) []string {
			if !strings.HasSuffix(v.Host, ":0") {
				return nil // those of its frontend
			}
			return routedClusters(nil, v.Routes)
		}),
		gateways: table.NewIndex(res.HTTP.Table, "clusters of gateway hosts", func(_ string, v *model.VirtualHost) []string {
			if v.Config == MeshConfig {
				return nil
			}
			return routedClusters(nil, v.Routes)
		}),
	}
	triggers := []table.Trigger{a.frontends, a.named, a.gateways}
	for _, t := range []*table.Derived[*RouteState]{res.Traffic.Routes, res.API.Routes} {
		ix := table.NewIndex(t, t.Name()+": clusters of gateway connections", gatewayConnections)
		a.connections, triggers = append(a.connections, ix), append(triggers, ix)
	}
	a.Clusters = table.NewDerived(e, "cluster audiences", a.cluster, triggers)
	return a
}

// cluster gathers who is led to a cluster: everyone, when a gateway does it, as all nodes serve all gateways.
func (a *Audiences) cluster(r *table.Reader, name string) (*model.Audience, bool) {
	if table.Any(r, a.gateways, name) {
		return nil, true
	}
	for _, ix := range a.connections {
		if table.Any(r, ix, name) {
			return nil, true
		}
	}
	var all []*model.Audience
	for _, e := range table.List(r, a.frontends, name) {
		all = append(all, e.Value.Audience)
	}
	for _, e := range table.List(r, a.named, name) {
		all = append(all, e.Value.Audience)
	}
	return JoinAudiences(all...), true
}

// JoinAudiences is the audience of what several audiences need.
func JoinAudiences(all ...*model.Audience) *model.Audience {
	var out []model.Reach
	for _, a := range all {
		if a == nil {
			return nil
		}
		out = append(out, a.AnyOf...)
	}
	slices.SortFunc(out, func(x, y model.Reach) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Host, y.Host), slices.Compare(x.ExportTo, y.ExportTo))
	})
	out = slices.CompactFunc(out, func(x, y model.Reach) bool {
		return x.Namespace == y.Namespace && x.Host == y.Host && slices.Equal(x.ExportTo, y.ExportTo)
	})
	if len(out) > widest {
		return nil
	}
	return &model.Audience{AnyOf: out}
}

// audienceOf are the clients of routes for a name that no host of the mesh has: it is the route objects' own.
func audienceOf(bound, api []*Binding) *model.Audience {
	var all []*model.Audience
	for _, b := range append(slices.Clone(bound), api...) {
		all = append(all, &model.Audience{AnyOf: []model.Reach{{Namespace: b.Meta.Namespace, Host: b.Host, ExportTo: b.Visible}}})
	}
	return JoinAudiences(all...)
}

// foreignClusters are those of other hosts that a frontend leads to.
func foreignClusters(_ string, f *model.Frontend) []string {
	var names []string
	if f.HTTP != nil {
		names = routedClusters(names, f.HTTP.Routes)
	}
	for i := range f.TCP {
		names = backendClusters(names, f.TCP[i].Backends)
	}
	own := "svc/" + f.ID.HostKey() + "/"
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, own) })
}

// routedClusters adds the clusters that requests are sent or copied to.
func routedClusters(names []string, routes []model.Route) []string {
	for i := range routes {
		f := routes[i].Forward
		if f == nil {
			continue
		}
		names = backendClusters(names, f.Backends)
		for _, m := range f.Mirrors {
			names = append(names, m.Cluster)
		}
	}
	return names
}

func backendClusters(names []string, backends []model.Backend) []string {
	for _, b := range backends {
		if b.Cluster != "" {
			names = append(names, b.Cluster)
		}
	}
	return names
}

// gatewayConnections are the clusters that a route leads the connections of a gateway to.
func gatewayConnections(_ string, s *RouteState) []string {
	var names []string
	for i := range s.TCP {
		if s.TCP[i].Config != MeshConfig {
			names = backendClusters(names, s.TCP[i].Route.Backends)
		}
	}
	return names
}
