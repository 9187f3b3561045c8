package resolve

import (
	"reflect"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve/policy"
	"fairlead.io/fairlead/pkg/table"
)

// Verdicts are the tables of L3/L4 policy, and what the authors of policies are told.
type Verdicts struct {
	*policy.Tables
	status *table.Derived[*model.ObjectStatus]
}

func newVerdicts(e *table.Engine, cfg Config, in *Inputs) *Verdicts {
	own := policy.Config{TrustDomain: cfg.TrustDomain, RootNamespace: cfg.RootNamespace, Labels: cfg.Labels}
	return &Verdicts{Tables: policy.New(e, own, policy.Inputs{
		Namespaces: in.Namespaces, Nodes: in.Nodes, Pods: in.Pods, Services: in.Services, EndpointSlices: in.EndpointSlices,
		NetworkPolicies: in.NetworkPolicies, ClusterNetworkPolicies: in.ClusterNetworkPolicies,
		CiliumNetworkPolicies: in.CiliumNetworkPolicies, CiliumClusterwideNetworkPolicies: in.CiliumClusterwideNetworkPolicies,
		AuthorizationPolicies: in.AuthorizationPolicies,
	})}
}

// declareStatus declares what is not urgent. A NetworkPolicy has no place for conditions: its notes are on the server's pages.
func (v *Verdicts) declareStatus(e *table.Engine) {
	v.status = table.NewDerived(e, "policy status", func(r *table.Reader, key string) (*model.ObjectStatus, bool) {
		o, ok := table.Get(r, v.Policies, key)
		if !ok {
			return nil, false
		}
		n := &notes{}
		for _, note := range o.Notes {
			warning := !note.Refused && note.Reason != policy.ReasonNotEnforced
			n.add(warning, note.Reason, note.Path, "%s", note.Message)
		}
		return n.status(&model.Meta{Ref: o.Ref, UID: o.UID, Generation: o.Generation, Issues: o.Issues}), true
	}, []table.Trigger{v.Policies}, table.Equal(func(a, b *model.ObjectStatus) bool { return reflect.DeepEqual(a, b) }))
}

func policyKinds() []string {
	return []string{"NetworkPolicy", "ClusterNetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "AuthorizationPolicy"}
}
