package convert

import (
	networkingv1 "k8s.io/api/networking/v1"

	"fairlead.io/fairlead/pkg/model"
)

// NetworkPolicy converts a networking.k8s.io/v1 NetworkPolicy.
func NetworkPolicy(o *networkingv1.NetworkPolicy) *model.Object[networkingv1.NetworkPolicySpec] {
	return &model.Object[networkingv1.NetworkPolicySpec]{
		Meta: metaOf(o, model.Ref{Group: GroupNetworking, Kind: "NetworkPolicy"}, "v1"), Spec: o.Spec,
	}
}
