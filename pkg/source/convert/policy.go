package convert

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// NetworkPolicy converts a networking.k8s.io/v1 NetworkPolicy.
func NetworkPolicy(o *networkingv1.NetworkPolicy) *model.Object[networkingv1.NetworkPolicySpec] {
	return &model.Object[networkingv1.NetworkPolicySpec]{
		Meta: metaOf(o, model.Ref{Group: GroupNetworking, Kind: "NetworkPolicy"}, "v1"), Spec: o.Spec,
	}
}

// policyKinds are the kinds of policy beside NetworkPolicy. The groups of others are read from a cluster where that is asked for: their
// own controllers may enforce them already.
func policyKinds() []Kind {
	authorization := Kind{
		Group: GroupFairlead, Kind: "AuthorizationPolicy", Resource: "authorizationpolicies", Versions: []string{"v1alpha1"},
		decode: custom[v1alpha1.AuthorizationPolicySpec],
	}
	istio := authorization
	istio.Group, istio.Versions, istio.Compat = GroupIstioSecurity, []string{"v1", "v1beta1"}, "istio"
	cilium := Kind{
		Group: GroupCilium, Kind: "CiliumNetworkPolicy", Resource: "ciliumnetworkpolicies", Versions: []string{"v2"}, Compat: "cilium",
		decode: ciliumPolicy,
	}
	clusterwide := cilium
	clusterwide.Kind, clusterwide.Resource, clusterwide.Cluster = "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", true
	return []Kind{
		authorization, istio, cilium, clusterwide,
		{
			Group: GroupNetworkPolicy, Kind: "ClusterNetworkPolicy", Resource: "clusternetworkpolicies", Versions: []string{"v1alpha2"},
			Cluster: true, decode: custom[policyv1alpha2.ClusterNetworkPolicySpec],
		},
	}
}

// ciliumPolicy decodes a policy of Cilium, whose rules are beside its metadata: spec, and specs.
func ciliumPolicy(in *input) (object, error) {
	var o struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		ciliumv2.Rules    `json:",inline"`
		Status            any `json:"status"` // never an input
	}
	issues, err := strict(in.json, &o)
	m := &model.Object[ciliumv2.Rules]{
		Meta: metaOf(&o.ObjectMeta, model.Ref{Group: in.kind.Group, Kind: in.kind.Kind}, in.version), Spec: o.Rules,
	}
	m.Issues = issues
	return m, err
}
