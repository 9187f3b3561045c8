package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group and Version name Fairlead's own resources; IstioGroup and
// IstioSecurityGroup are the groups whose manifests decode into the same types.
const (
	Group              = "fairlead.io"
	Version            = "v1alpha1"
	IstioGroup         = "networking.istio.io"
	IstioSecurityGroup = "security.istio.io"
)

// GroupVersion returns fairlead.io/v1alpha1.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: Version}
}

// IstioGroupVersions returns the versions of networking.istio.io that carry
// these kinds, the preferred one first. Their schemas are equal, so a client
// watches one of them and sees every object.
func IstioGroupVersions() []schema.GroupVersion {
	return []schema.GroupVersion{
		{Group: IstioGroup, Version: "v1"},
		{Group: IstioGroup, Version: "v1beta1"},
		{Group: IstioGroup, Version: "v1alpha3"},
	}
}

// IstioSecurityGroupVersions are those of AuthorizationPolicy, in the same way.
func IstioSecurityGroupVersions() []schema.GroupVersion {
	return []schema.GroupVersion{
		{Group: IstioSecurityGroup, Version: "v1"},
		{Group: IstioSecurityGroup, Version: "v1beta1"},
	}
}

// AddToScheme registers the kinds under fairlead.io/v1alpha1.
func AddToScheme(s *runtime.Scheme) error {
	addKinds(s, GroupVersion())
	addSecurityKinds(s, GroupVersion())
	return nil
}

// AddIstioToScheme registers the same Go types under every version of
// networking.istio.io and security.istio.io. A scheme that also has AddToScheme knows several kinds
// for one Go type: decoding is exact, and an encoder takes the kind from
// TypeMeta.
func AddIstioToScheme(s *runtime.Scheme) error {
	for _, gv := range IstioGroupVersions() {
		addKinds(s, gv)
	}
	for _, gv := range IstioSecurityGroupVersions() {
		addSecurityKinds(s, gv)
	}
	return nil
}

func addKinds(s *runtime.Scheme, gv schema.GroupVersion) {
	s.AddKnownTypes(gv,
		&DestinationRule{}, &DestinationRuleList{},
		&Gateway{}, &GatewayList{},
		&ServiceEntry{}, &ServiceEntryList{},
		&Sidecar{}, &SidecarList{},
		&VirtualService{}, &VirtualServiceList{},
		&WorkloadEntry{}, &WorkloadEntryList{},
	)
	metav1.AddToGroupVersion(s, gv)
}

func addSecurityKinds(s *runtime.Scheme, gv schema.GroupVersion) {
	s.AddKnownTypes(gv, &AuthorizationPolicy{}, &AuthorizationPolicyList{})
	metav1.AddToGroupVersion(s, gv)
}
