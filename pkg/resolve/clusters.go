package resolve

import (
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Clusters are the upstreams: one for each port of each host, and one more for each subset.
type Clusters struct {
	// Table is keyed by the cluster's name (model.ClusterID).
	Table *table.Derived[*model.Cluster]

	hosts    *Hosts
	policies *Policies
}

func newClusters(e *table.Engine, hosts *Hosts, policies *Policies) *Clusters {
	c := &Clusters{hosts: hosts, policies: policies}
	c.Table = table.NewDerived(e, "clusters", c.cluster, []table.Trigger{hosts.clusters, policies.clusters})
	return c
}

func (c *Clusters) cluster(r *table.Reader, name string) (*model.Cluster, bool) {
	u, ok := lookUpstream(r, c.hosts, c.policies, name)
	if !ok {
		return nil, false
	}
	out := &model.Cluster{ID: u.id, Protocol: u.port.Protocol, Policy: u.traffic, Origins: u.origins, Audience: u.host.Audience}
	out.Resolution = u.host.Resolution
	switch out.Resolution {
	case model.ResolveNone:
		out.UpstreamPort = u.port.Target
	case model.ResolveDNS, model.ResolveDNSRoundRobin:
		out.DNS = c.names(r, u)
	}
	return out, true
}

// names are what a DNS cluster resolves.
func (c *Clusters) names(r *table.Reader, u *upstream) []model.ClusterEndpoint {
	if u.host.ExternalName != "" {
		return []model.ClusterEndpoint{{Address: u.host.ExternalName, Port: u.port.Number}}
	}
	list := c.hosts.members.of(r, u.host, u.port, wanted{labels: u.labels})
	if u.host.Resolution == model.ResolveDNSRoundRobin && len(list) > 1 {
		list = list[:1] // Envoy resolves one name; a selector may select more
	}
	return list
}

// upstream is all that decides what one cluster is.
type upstream struct {
	id      model.ClusterID
	host    *model.Host
	port    *model.HostPort
	labels  map[string]string // of the subset
	traffic model.TrafficPolicy
	origins []model.Ref
}

func lookUpstream(r *table.Reader, hosts *Hosts, policies *Policies, name string) (*upstream, bool) {
	u := &upstream{}
	var ok bool
	if u.id, ok = model.ParseClusterID(name); !ok {
		return nil, false
	}
	if u.host, ok = table.Get(r, hosts.Table, u.id.HostKey()); !ok {
		return nil, false
	}
	if u.port = u.host.Port(u.id.Port); u.port == nil {
		return nil, false
	}
	u.origins = []model.Ref{u.host.Origin}
	p, ok := table.Get(r, policies.Table, u.id.HostKey())
	if !ok {
		u.traffic = defaultPolicy(u.host)
		return u, u.id.Subset == ""
	}
	if u.id.Subset != "" {
		s := p.subset(u.id.Subset)
		if s == nil {
			return nil, false
		}
		u.labels = s.Labels
	}
	u.origins = append(u.origins, p.Origins...)
	u.traffic = p.For(u.id.Port, u.id.Subset)
	return u, true
}

// defaultPolicy is that of a host without a DestinationRule, or of a rule that chooses no load balancer: a Service with
// sessionAffinity ClientIP keeps it.
func defaultPolicy(h *model.Host) model.TrafficPolicy {
	if h.SessionAffinity {
		return model.TrafficPolicy{LB: model.LoadBalancer{Kind: model.LBRingHash, Hash: &model.HashPolicy{SourceIP: true}}}
	}
	return model.TrafficPolicy{}
}
