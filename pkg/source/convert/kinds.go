package convert

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The API groups that Fairlead reads.
const (
	GroupFairlead   = "fairlead.io"
	GroupIstio      = "networking.istio.io"
	GroupGateway    = "gateway.networking.k8s.io"
	GroupDiscovery  = "discovery.k8s.io"
	GroupNetworking = "networking.k8s.io"

	GroupNetworkPolicy = "policy.networking.k8s.io"
	GroupCilium        = "cilium.io"
	GroupIstioSecurity = "security.istio.io"
)

// Kind is a kind of object that Fairlead reads.
type Kind struct {
	Group, Kind string
	// Resource is the plural, as in an API server's paths.
	Resource string
	// Versions are those that are understood, the one to prefer first. They differ in name only.
	Versions []string
	// Cluster is set for kinds without a namespace.
	Cluster bool
	// Compat is the --compat value that a cluster needs before this kind is read there; empty for always.
	Compat string

	decode func(*input) (object, error)
}

// Custom tells whether the kind is defined by a CustomResourceDefinition.
func (k Kind) Custom() bool {
	return k.Group != "" && k.Group != GroupDiscovery && k.Group != GroupNetworking
}

// CRD is the name of the kind's CustomResourceDefinition.
func (k Kind) CRD() string { return k.Resource + "." + k.Group }

// Kinds lists every kind that is read.
func Kinds() []Kind {
	return append(coreKinds(), customKinds()...)
}

func coreKinds() []Kind {
	v1 := []string{"v1"}
	return []Kind{
		{Kind: "Namespace", Resource: "namespaces", Versions: v1, Cluster: true, decode: typed(Namespace)},
		{Kind: "Node", Resource: "nodes", Versions: v1, Cluster: true, decode: typed(Node)},
		{Kind: "Pod", Resource: "pods", Versions: v1, decode: typed(Pod)},
		{Kind: "Service", Resource: "services", Versions: v1, decode: typed(Service)},
		{Kind: "Secret", Resource: "secrets", Versions: v1, decode: typed(Secret)},
		{Kind: "ConfigMap", Resource: "configmaps", Versions: v1, decode: typed(ConfigMap)},
		{Group: GroupDiscovery, Kind: "EndpointSlice", Resource: "endpointslices", Versions: v1, decode: typed(EndpointSlice)},
		{Group: GroupNetworking, Kind: "NetworkPolicy", Resource: "networkpolicies", Versions: v1, decode: typed(NetworkPolicy)},
	}
}

func customKinds() []Kind {
	kinds := []Kind{
		{Kind: "GatewayClass", Resource: "gatewayclasses", Versions: []string{"v1", "v1beta1"}, Cluster: true, decode: custom[gatewayv1.GatewayClassSpec]},
		{Kind: "Gateway", Resource: "gateways", Versions: []string{"v1", "v1beta1"}, decode: custom[gatewayv1.GatewaySpec]},
		{Kind: "HTTPRoute", Resource: "httproutes", Versions: []string{"v1", "v1beta1"}, decode: custom[gatewayv1.HTTPRouteSpec]},
		{Kind: "ReferenceGrant", Resource: "referencegrants", Versions: []string{"v1", "v1beta1"}, decode: custom[gatewayv1.ReferenceGrantSpec]},
	}
	for i := range kinds {
		kinds[i].Group = GroupGateway
	}
	return append(append(kinds, meshKinds()...), policyKinds()...)
}
