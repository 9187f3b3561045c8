package model

// The API groups whose kinds are read beside the core ones.
const (
	Group           = "fairlead.io"
	IstioGroup      = "networking.istio.io"
	GatewayAPIGroup = "gateway.networking.k8s.io"
	DiscoveryGroup  = "discovery.k8s.io"
	NetworkingGroup = "networking.k8s.io"
	// NetworkPolicyGroup is that of the Network Policy API.
	NetworkPolicyGroup = "policy.networking.k8s.io"
	CiliumGroup        = "cilium.io"
	IstioSecurityGroup = "security.istio.io"
)
