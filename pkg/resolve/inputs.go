package resolve

import (
	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/table"
)

// The kinds whose objects are a Meta and a plain API specification.
type (
	GatewayClass    = model.Object[gatewayv1.GatewayClassSpec]
	Gateway         = model.Object[gatewayv1.GatewaySpec]
	HTTPRoute       = model.Object[gatewayv1.HTTPRouteSpec]
	ReferenceGrant  = model.Object[gatewayv1.ReferenceGrantSpec]
	VirtualService  = model.Object[v1alpha1.VirtualServiceSpec]
	DestinationRule = model.Object[v1alpha1.DestinationRuleSpec]
	ServiceEntry    = model.Object[v1alpha1.ServiceEntrySpec]
	WorkloadEntry   = model.Object[v1alpha1.WorkloadEntrySpec]
	// ServerGateway is the Gateway of fairlead.io and networking.istio.io: servers behind a selector.
	ServerGateway = model.Object[v1alpha1.GatewaySpec]
	NetworkPolicy = model.Object[networkingv1.NetworkPolicySpec]

	ClusterNetworkPolicy = model.Object[policyv1alpha2.ClusterNetworkPolicySpec]
	// CiliumPolicy is a CiliumNetworkPolicy or a CiliumClusterwideNetworkPolicy.
	CiliumPolicy        = model.Object[ciliumv2.Rules]
	AuthorizationPolicy = model.Object[v1alpha1.AuthorizationPolicySpec]
)

// Inputs are the source tables: one a kind, keyed by ObjectKey.
type Inputs struct {
	Namespaces       *table.Source[*model.Namespace]
	Nodes            *table.Source[*model.Node]
	Pods             *table.Source[*model.Pod]
	Services         *table.Source[*model.Service]
	EndpointSlices   *table.Source[*model.EndpointSlice]
	Secrets          *table.Source[*model.Secret]
	ConfigMaps       *table.Source[*model.ConfigMap]
	GatewayClasses   *table.Source[*GatewayClass]
	Gateways         *table.Source[*Gateway]
	HTTPRoutes       *table.Source[*HTTPRoute]
	ReferenceGrants  *table.Source[*ReferenceGrant]
	VirtualServices  *table.Source[*VirtualService]
	DestinationRules *table.Source[*DestinationRule]
	ServiceEntries   *table.Source[*ServiceEntry]
	WorkloadEntries  *table.Source[*WorkloadEntry]
	ServerGateways   *table.Source[*ServerGateway]
	Sidecars         *table.Source[*Sidecar]
	NetworkPolicies  *table.Source[*NetworkPolicy]

	ClusterNetworkPolicies           *table.Source[*ClusterNetworkPolicy]
	CiliumNetworkPolicies            *table.Source[*CiliumPolicy]
	CiliumClusterwideNetworkPolicies *table.Source[*CiliumPolicy]
	AuthorizationPolicies            *table.Source[*AuthorizationPolicy]

	// TrustBundles come from the authority, by trust domain.
	TrustBundles *table.Source[*model.TrustBundle]

	engine *table.Engine
}

// NewInputs declares the source tables. Changes of endpoints and of policy are urgent: they overtake a long pass.
func NewInputs(e *table.Engine) *Inputs {
	return &Inputs{
		engine:           e,
		Namespaces:       newSource[*model.Namespace](e, "namespaces"),
		Nodes:            newSource[*model.Node](e, "nodes"),
		Pods:             newSource[*model.Pod](e, "pods", table.Urgent()),
		Services:         newSource[*model.Service](e, "services"),
		EndpointSlices:   newSource[*model.EndpointSlice](e, "endpointslices", table.Urgent()),
		Secrets:          newSource[*model.Secret](e, "secrets"),
		ConfigMaps:       newSource[*model.ConfigMap](e, "configmaps"),
		GatewayClasses:   newSource[*GatewayClass](e, "gatewayclasses"),
		Gateways:         newSource[*Gateway](e, "gateways"),
		HTTPRoutes:       newSource[*HTTPRoute](e, "httproutes"),
		ReferenceGrants:  newSource[*ReferenceGrant](e, "referencegrants"),
		VirtualServices:  newSource[*VirtualService](e, "virtualservices"),
		DestinationRules: newSource[*DestinationRule](e, "destinationrules"),
		ServiceEntries:   newSource[*ServiceEntry](e, "serviceentries"),
		WorkloadEntries:  newSource[*WorkloadEntry](e, "workloadentries"),
		ServerGateways:   newSource[*ServerGateway](e, "servergateways"),
		Sidecars:         newSource[*Sidecar](e, "sidecar objects"),
		NetworkPolicies:  newSource[*NetworkPolicy](e, "networkpolicies", table.Urgent()),

		ClusterNetworkPolicies:           newSource[*ClusterNetworkPolicy](e, "clusternetworkpolicies", table.Urgent()),
		CiliumNetworkPolicies:            newSource[*CiliumPolicy](e, "ciliumnetworkpolicies", table.Urgent()),
		CiliumClusterwideNetworkPolicies: newSource[*CiliumPolicy](e, "ciliumclusterwidenetworkpolicies", table.Urgent()),
		AuthorizationPolicies:            newSource[*AuthorizationPolicy](e, "authorizationpolicies", table.Urgent()),

		TrustBundles: newSource[*model.TrustBundle](e, "trustbundles"),
	}
}

type object interface {
	comparable
	GetMeta() *model.Meta
}

// newSource declares a source table in which two readings of one object in one version are equal.
func newSource[V object](e *table.Engine, name string, opts ...table.Option) *table.Source[V] {
	same := func(a, b V) bool { return a == b || a.GetMeta().Same(b.GetMeta()) }
	return table.NewSource[V](e, name, append(opts, table.WithEqual(same))...)
}

// ObjectKey is the key of an object in its source table. The same kind of another group than ours carries the group, as
// fairlead.io and networking.istio.io objects of one name may exist side by side.
func ObjectKey(r model.Ref) string {
	if r.Group == model.IstioGroup || r.Group == model.IstioSecurityGroup {
		return r.Key() + "@istio"
	}
	return r.Key()
}

// Apply hands a burst of updates to the engine.
func (in *Inputs) Apply(updates []source.Update, at source.Position) {
	b := in.Batch(updates, at.Complete)
	b.Position(at.Seen)
	in.engine.Submit(b)
}

// Batch makes a burst of updates a batch of the engine, after which everything up to position has been told.
func (in *Inputs) Batch(updates []source.Update, position uint64) *table.Batch {
	b := in.engine.NewBatch()
	for _, u := range updates {
		in.put(b, u)
	}
	b.Position(position)
	b.Complete(position)
	return b
}

// put writes one update. Kinds that nobody resolves yet are not read by any source.
func (in *Inputs) put(b *table.Batch, u source.Update) {
	switch u.Ref.Group + "/" + u.Ref.Kind {
	case "/Namespace":
		set(b, in.Namespaces, u)
	case "/Node":
		set(b, in.Nodes, u)
	case "/Pod":
		set(b, in.Pods, u)
	case "/Service":
		set(b, in.Services, u)
	case "discovery.k8s.io/EndpointSlice":
		set(b, in.EndpointSlices, u)
	case "/Secret":
		set(b, in.Secrets, u)
	case "/ConfigMap":
		set(b, in.ConfigMaps, u)
	case model.GatewayAPIGroup + "/GatewayClass":
		set(b, in.GatewayClasses, u)
	case model.GatewayAPIGroup + "/Gateway":
		set(b, in.Gateways, u)
	case model.GatewayAPIGroup + "/HTTPRoute":
		set(b, in.HTTPRoutes, u)
	case model.GatewayAPIGroup + "/ReferenceGrant":
		set(b, in.ReferenceGrants, u)
	default:
		in.putPolicy(b, u)
	}
}

// putPolicy writes an update of a kind of policy.
func (in *Inputs) putPolicy(b *table.Batch, u source.Update) {
	switch u.Ref.Kind {
	case "NetworkPolicy":
		set(b, in.NetworkPolicies, u)
	case "ClusterNetworkPolicy":
		set(b, in.ClusterNetworkPolicies, u)
	case "CiliumNetworkPolicy":
		set(b, in.CiliumNetworkPolicies, u)
	case "CiliumClusterwideNetworkPolicy":
		set(b, in.CiliumClusterwideNetworkPolicies, u)
	case "AuthorizationPolicy":
		set(b, in.AuthorizationPolicies, u)
	default:
		in.putTraffic(b, u)
	}
}

// putTraffic writes an update of our kinds, of either group.
func (in *Inputs) putTraffic(b *table.Batch, u source.Update) {
	switch u.Ref.Kind {
	case "VirtualService":
		set(b, in.VirtualServices, u)
	case "DestinationRule":
		set(b, in.DestinationRules, u)
	case "ServiceEntry":
		set(b, in.ServiceEntries, u)
	case "WorkloadEntry":
		set(b, in.WorkloadEntries, u)
	case "Gateway":
		set(b, in.ServerGateways, u)
	case "Sidecar":
		set(b, in.Sidecars, u)
	}
}

func set[V any](b *table.Batch, t *table.Source[V], u source.Update) {
	key := ObjectKey(u.Ref)
	if v, ok := u.Object.(V); ok && u.Object != nil {
		t.Set(b, key, v)
		return
	}
	t.Delete(b, key)
}
