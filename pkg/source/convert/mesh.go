package convert

import "fairlead.io/fairlead/api/v1alpha1"

// meshKinds are the kinds of fairlead.io, and their namesakes of networking.istio.io.
func meshKinds() []Kind {
	kinds := []Kind{
		{Kind: "VirtualService", Resource: "virtualservices", decode: custom[v1alpha1.VirtualServiceSpec]},
		{Kind: "DestinationRule", Resource: "destinationrules", decode: custom[v1alpha1.DestinationRuleSpec]},
		{Kind: "ServiceEntry", Resource: "serviceentries", decode: custom[v1alpha1.ServiceEntrySpec]},
		{Kind: "WorkloadEntry", Resource: "workloadentries", decode: custom[v1alpha1.WorkloadEntrySpec]},
		{Kind: "Gateway", Resource: "gateways", decode: custom[v1alpha1.GatewaySpec]},
		{Kind: "Sidecar", Resource: "sidecars", decode: custom[v1alpha1.SidecarSpec]},
	}
	for i, k := range kinds {
		kinds[i].Group, kinds[i].Versions = GroupFairlead, []string{"v1alpha1"}
		k.Group, k.Versions, k.Compat = GroupIstio, []string{"v1", "v1beta1", "v1alpha3"}, "istio"
		kinds = append(kinds, k)
	}
	return kinds
}
