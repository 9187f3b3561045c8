package status

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// The condition types that are said beside those of resolve. An API that knows no such type gets the one with our domain.
const (
	ConditionAccepted   = "Accepted"
	ConditionProgrammed = "Programmed"
	// ConditionRouteProgrammed is Programmed for an HTTPRoute, whose API has no such type.
	ConditionRouteProgrammed = "fairlead.io/Programmed"
	// ConditionWarnings is there, and true, while something of the object has no effect, or another than it seems.
	ConditionWarnings = "fairlead.io/Warnings"
)

// shape is what the status of a kind looks like.
type shape uint8

const (
	noPlace      shape = iota
	classShape         // conditions; nothing of it reaches an Envoy
	gatewayShape       // conditions, listeners, addresses
	routeShape         // conditions for each parent
	plainShape         // conditions, observedGeneration
	policyShape        // conditions
)

// shapeOf gives noPlace for a kind that has no place for conditions: a Service, a Secret.
func shapeOf(r model.Ref) shape {
	switch r.Group {
	case gatewayv1.GroupName:
		switch r.Kind {
		case "GatewayClass":
			return classShape
		case "Gateway":
			return gatewayShape
		case "HTTPRoute":
			return routeShape
		}
	case model.NetworkPolicyGroup, model.CiliumGroup:
		return policyShape
	case v1alpha1.IstioSecurityGroup:
		return plainShape
	case v1alpha1.Group, v1alpha1.IstioGroup:
		for _, kind := range meshKinds() {
			if r.Kind == kind {
				return plainShape
			}
		}
	}
	return noPlace
}

// foreign tells whether other controllers may write the status of a kind as well.
func foreign(r model.Ref) bool {
	switch r.Group {
	case v1alpha1.IstioGroup, v1alpha1.IstioSecurityGroup, model.CiliumGroup, model.NetworkPolicyGroup:
		return true
	}
	return false
}

func meshKinds() []string {
	return []string{"AuthorizationPolicy", "DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "VirtualService", "WorkloadEntry"}
}

// kinds are those that a writer follows.
func kinds(compat, cilium bool) []schema.GroupKind {
	var out []schema.GroupKind
	for _, kind := range []string{"GatewayClass", "Gateway", "HTTPRoute"} {
		out = append(out, schema.GroupKind{Group: gatewayv1.GroupName, Kind: kind})
	}
	out = append(out, schema.GroupKind{Group: model.NetworkPolicyGroup, Kind: "ClusterNetworkPolicy"})
	if cilium {
		for _, kind := range []string{"CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"} {
			out = append(out, schema.GroupKind{Group: model.CiliumGroup, Kind: kind})
		}
	}
	groups := []string{v1alpha1.Group}
	if compat {
		groups = append(groups, v1alpha1.IstioGroup)
	}
	for _, group := range groups {
		for _, kind := range meshKinds() {
			in := group
			if kind == "AuthorizationPolicy" && group == v1alpha1.IstioGroup {
				in = v1alpha1.IstioSecurityGroup
			}
			out = append(out, schema.GroupKind{Group: in, Kind: kind})
		}
	}
	return out
}
