package translate

import (
	"strings"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// WorkloadType is the type URL of what the agent of a node knows of a pod.
const WorkloadType = "type.googleapis.com/fairlead.node.v1.Workload"

// declareWorkloads publishes each pod to the node that it is bound to, and to no other: there is no row without a variant.
func (o *Outputs) declareWorkloads() {
	o.declare(WorkloadType, "xds workloads", func(r *table.Reader, key string) (*snapshot.Resource, bool) {
		list := table.List(r, o.res.Residents.ByUID, key)
		uid, variant, _ := strings.Cut(key, " ")
		if len(list) == 0 {
			return nil, false
		}
		p := list[0].Value
		return encodeVariant(r, uid, variant, Workload(p, o.res.Config.TrustDomain), []model.Ref{{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}})
	}, []table.Trigger{o.res.Residents.ByUID}, table.UrgentStage())
}

// Workload is what the agent of the pod's node is told. A static pod has no account, and nothing is signed for it.
func Workload(p *resolve.Resident, trustDomain string) *nodev1.Workload {
	w := &nodev1.Workload{
		Uid: p.UID, Namespace: p.Namespace, Name: p.Name, ServiceAccount: p.ServiceAccount, Node: p.Node,
		Addresses: p.Addresses, HostNetwork: p.HostNetwork,
		Identity: p.Identity,
	}
	if p.ServiceAccount != "" {
		w.SpiffeId = "spiffe://" + trustDomain + "/ns/" + p.Namespace + "/sa/" + p.ServiceAccount
	}
	return w
}
