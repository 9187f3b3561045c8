package resolve

import (
	"slices"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Endpoints are what EDS serves. A change of an EndpointSlice runs the clusters of its Service only.
type Endpoints struct {
	// Table is keyed by the cluster's name. Every cluster whose endpoints come by EDS has a row, an empty one too: Envoy
	// waits for it.
	Table *table.Derived[*model.ClusterEndpoints]
	// Status is that of WorkloadEntries, by ObjectKey.
	Status *table.Derived[*model.ObjectStatus]

	hosts    *Hosts
	policies *Policies
}

func newEndpoints(e *table.Engine, in *Inputs, hosts *Hosts, policies *Policies) *Endpoints {
	p := &Endpoints{hosts: hosts, policies: policies}
	p.Table = table.NewDerived(e, "endpoints", p.endpoints, []table.Trigger{hosts.clusters, policies.clusters}, table.UrgentStage())
	p.Status = newWorkloadEntryStatus(e, in)
	return p
}

func (p *Endpoints) endpoints(r *table.Reader, name string) (*model.ClusterEndpoints, bool) {
	u, ok := lookUpstream(r, p.hosts, p.policies, name)
	if !ok || u.host.Resolution != model.ResolveEDS {
		return nil, false
	}
	out := &model.ClusterEndpoints{Cluster: name, Origins: u.origins, Locality: localityOf(&u.traffic, u.host.Near)}
	if n := u.host.Near; n == model.NearNode || n == model.OnlyNode {
		out.Near = n
	}
	w := wanted{labels: u.labels, node: out.Near != ""}
	if out.Locality != nil {
		w.keep = priorityLabels(out.Locality.FailoverPriority)
	}
	out.Endpoints = p.hosts.members.of(r, u.host, u.port, w)
	if out.Locality != nil && len(out.Locality.Distribute) == 0 && alike(out.Endpoints) {
		out.Locality = nil
	}
	return out, true
}

// localityOf is the locality setting that changes what clients get. As in Istio, failover needs outlier detection, which
// turns it on unless the rule turns it off; distribution works without. What a Service says counts where no rule does.
func localityOf(t *model.TrafficPolicy, near model.Nearness) *model.LocalityLB {
	l := t.LB.Locality
	switch {
	case near == model.OnlyNode || l != nil && !l.Enabled:
		return nil
	case l != nil && len(l.Distribute) > 0:
		return l
	case near != "" && (l == nil || t.Outlier == nil):
		return &model.LocalityLB{Enabled: true, FailoverPriority: []string{model.RegionLabel, model.ZoneLabel}}
	case t.Outlier == nil:
		return nil
	case l == nil:
		return &model.LocalityLB{Enabled: true}
	}
	return l
}

// alike tells that there is nothing to prefer.
func alike(list []model.ClusterEndpoint) bool {
	for _, e := range list {
		if e.Locality != list[0].Locality || len(e.Labels) > 0 {
			return false
		}
	}
	return true
}

// priorityLabels are the label keys of a failoverPriority that endpoints carry themselves, not by their locality.
func priorityLabels(priority []string) []string {
	var out []string
	for _, p := range priority {
		k, _, _ := cutLabel(p)
		if !slices.Contains(localityLabels(), k) {
			out = append(out, k)
		}
	}
	return out
}
