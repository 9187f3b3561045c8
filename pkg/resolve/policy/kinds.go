package policy

import (
	networkingv1 "k8s.io/api/networking/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// declareKinds adds all kinds.
func declareKinds(c *compilers, cfg Config, in Inputs) {
	compiles(c, in.NetworkPolicies, func(o *model.Object[networkingv1.NetworkPolicySpec]) []*Policy {
		return []*Policy{NetworkPolicy(o)}
	}, model.Ref{Group: model.NetworkingGroup, Kind: "NetworkPolicy"})
	compiles(c, in.ClusterNetworkPolicies, func(o *model.Object[policyv1alpha2.ClusterNetworkPolicySpec]) []*Policy {
		return []*Policy{ClusterNetworkPolicy(o)}
	}, model.Ref{Group: model.NetworkPolicyGroup, Kind: "ClusterNetworkPolicy"})
	cilium := func(o *model.Object[ciliumv2.Rules]) []*Policy { return CiliumPolicy(o, DefaultCluster) }
	compiles(c, in.CiliumNetworkPolicies, cilium, model.Ref{Group: model.CiliumGroup, Kind: "CiliumNetworkPolicy"})
	compiles(c, in.CiliumClusterwideNetworkPolicies, cilium, model.Ref{Group: model.CiliumGroup, Kind: "CiliumClusterwideNetworkPolicy"})
	mesh := &MeshConfig{TrustDomain: cfg.TrustDomain, Root: DefaultRoot()}
	if cfg.RootNamespace != "" {
		mesh.Root[v1alpha1.Group] = cfg.RootNamespace
	}
	compiles(c, in.AuthorizationPolicies, func(o *model.Object[v1alpha1.AuthorizationPolicySpec]) []*Policy {
		return []*Policy{AuthorizationPolicy(o, mesh)}
	}, model.Ref{Group: model.Group, Kind: "AuthorizationPolicy"}, model.Ref{Group: model.IstioSecurityGroup, Kind: "AuthorizationPolicy"})
}
