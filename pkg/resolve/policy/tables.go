package policy

import (
	networkingv1 "k8s.io/api/networking/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
)

// Config is what an operator sets once for a mesh.
type Config struct {
	TrustDomain string
	// RootNamespace holds the AuthorizationPolicies of fairlead.io that are for all namespaces.
	RootNamespace string
	// Labels says which labels of pods count.
	Labels verdict.Filter
}

// Inputs are the source tables that policy is made from.
type Inputs struct {
	Namespaces      *table.Source[*model.Namespace]
	Nodes           *table.Source[*model.Node]
	Pods            *table.Source[*model.Pod]
	Services        *table.Source[*model.Service]
	EndpointSlices  *table.Source[*model.EndpointSlice]
	NetworkPolicies *table.Source[*model.Object[networkingv1.NetworkPolicySpec]]

	ClusterNetworkPolicies           *table.Source[*model.Object[policyv1alpha2.ClusterNetworkPolicySpec]]
	CiliumNetworkPolicies            *table.Source[*model.Object[ciliumv2.Rules]]
	CiliumClusterwideNetworkPolicies *table.Source[*model.Object[ciliumv2.Rules]]
	AuthorizationPolicies            *table.Source[*model.Object[v1alpha1.AuthorizationPolicySpec]]
}

// Tables are the stage. All are of the urgent lane.
type Tables struct {
	// Pods are by the pod's key.
	Pods *table.Derived[*Pod]
	// Policies are the objects of all kinds, by "<group>/<Kind>/<key>".
	Policies *table.Derived[*Object]
	// Sets are by identity: one for each that exists, and for the nodes that a policy selects.
	Sets *table.Derived[*verdict.Set]
	// PeerSets are the identities of each, sorted, by the PeerSet's name: of those that a policy names.
	PeerSets *table.Derived[[]string]
	// Peers are by the UID of a pod, "node/<name>" and "kube-apiserver/<address>".
	Peers *table.Derived[*Endpoint]

	identities *identities
}

// New declares the tables in flow order.
func New(e *table.Engine, cfg Config, in Inputs) *Tables {
	t := &Tables{identities: newIdentities(e, cfg, in)}
	t.Pods = t.identities.pods
	t.Peers = newPeers(e, in, t.Pods)
	t.Policies = newPolicies(e, cfg, in, t.identities, newServices(in))
	t.PeerSets = newPeerSets(e, t.Policies, t.identities)
	t.Sets = newSets(e, t.Policies, t.identities)
	return t
}
