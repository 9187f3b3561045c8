package resolve

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Traffic is what VirtualServices, and the Gateways that they name, come to.
type Traffic struct {
	// Gateways and Routes are keyed by ObjectKey.
	Gateways *table.Derived[*GatewayState]
	Routes   *table.Derived[*RouteState]

	cfg      Config
	in       *Inputs
	hosts    *Hosts
	policies *Policies
	// delegators finds the VirtualServices that delegate to one, by "namespace/name".
	delegators *table.Index[*VirtualService]
	bound      *table.Derived[*boundVirtualService]
	byMatch    *table.Index[*boundVirtualService]
}

func newTraffic(e *table.Engine, cfg Config, in *Inputs, hosts *Hosts, policies *Policies) *Traffic {
	t := &Traffic{cfg: cfg, in: in, hosts: hosts, policies: policies}
	t.Gateways = table.NewDerived(e, "server gateways", t.gateway, []table.Trigger{in.ServerGateways})
	t.delegators = table.NewIndex(in.VirtualServices, "virtualservices by delegate", delegateKeys)
	t.bound = table.NewDerived(e, "virtualservices bound", t.bind, []table.Trigger{in.VirtualServices})
	t.byMatch = table.NewIndex(t.bound, "virtualservices by match", func(_ string, b *boundVirtualService) []string { return b.matches })
	t.Routes = table.NewDerived(e, "virtualservice routes", t.judge, []table.Trigger{t.bound})
	return t
}

// vsRun is one resolution of one VirtualService.
type vsRun struct {
	*Traffic
	*notes
	r  *table.Reader
	vs *VirtualService
	// attached are the gateways, and perhaps the mesh, that the object is bound to, in the order written.
	attached []attachment
}

// attachment is one entry of spec.gateways. State is nil in the mesh.
type attachment struct {
	// Name is "mesh" or "namespace/name".
	Name  string
	State *GatewayState
}

func (a attachment) mesh() bool { return a.State == nil }

// bind resolves one VirtualService against everything but its rivals for a host.
func (t *Traffic) bind(r *table.Reader, key string) (*boundVirtualService, bool) {
	vs, ok := table.Get(r, t.in.VirtualServices, key)
	if !ok {
		return nil, false
	}
	v := &vsRun{Traffic: t, notes: &notes{}, r: r, vs: vs}
	state := &RouteState{}
	switch {
	case broken(&vs.Meta): // half of an object is not what its author meant
	case len(vs.Spec.Hosts) == 0:
		v.checkDelegate()
	default:
		v.attach()
		rules := v.rules()
		state.Bindings = v.bindHTTP(rules)
		state.TCP = append(v.bindTLS(), v.bindTCP()...)
	}
	state.Status = *v.status(&vs.Meta)
	return newBound(state, &vs.Meta), true
}

// reasonNotServed is for what is right but reaches nobody.
const reasonNotServed = "NotServed"

// unsupported names a field that is not obeyed, to the harm of nothing else.
func (v *vsRun) unsupported(path, why string) {
	v.warn(reasonUnsupported, path, "not supported and ignored: %s", why)
}

// status completes the notes. What several bind points found is said once.
func (v *vsRun) status(m *model.Meta) *model.ObjectStatus {
	return (&notes{list: once(v.list)}).status(m)
}

// once leaves out what is said already.
func once(list []model.Condition) []model.Condition {
	var out []model.Condition
	for _, c := range list {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// attach finds the gateways of the object. exportTo must include the namespace of a Gateway: the workload that serves it has
// none of its own here.
func (v *vsRun) attach() {
	names := v.vs.Spec.Gateways
	if len(names) == 0 {
		names = []string{MeshConfig}
	}
	for i, n := range names {
		path := "spec.gateways[" + strconv.Itoa(i) + "]"
		name := v.gatewayName(n)
		if slices.ContainsFunc(v.attached, func(a attachment) bool { return a.Name == name }) {
			continue
		}
		if name == MeshConfig {
			v.attached = append(v.attached, attachment{Name: name})
			continue
		}
		g, ok := v.findGateway(name)
		ns, _ := model.SplitKey(name)
		switch {
		case !ok:
			v.refuse(reasonUnresolved, path, "Gateway %s does not exist; create it or correct the name (a name without namespace means one in %s)", name, v.vs.Namespace)
		case !v.exportedTo(v.vs, ns):
			v.refuse(reasonInvalid, path, "spec.exportTo does not include namespace %s of Gateway %s; add it", ns, name)
		case len(g.Servers) == 0:
			v.warn(reasonNotServed, path, "Gateway %s opens no port in this mesh; see its status", name)
		default:
			v.attached = append(v.attached, attachment{Name: name, State: g})
		}
	}
}

// gatewayName completes a gateway's name by the namespace of the object.
func (v *vsRun) gatewayName(n string) string {
	if n == MeshConfig {
		return n
	}
	ns, name, ok := strings.Cut(n, "/")
	if !ok {
		return model.Key(v.vs.Namespace, n)
	}
	if ns == "." {
		ns = v.vs.Namespace
	}
	return model.Key(ns, name)
}

// findGateway looks in the object's own API group first: both groups may hold a Gateway of one name.
func (v *vsRun) findGateway(name string) (*GatewayState, bool) {
	for _, key := range groupKeys(v.vs.Group, name) {
		if g, ok := table.Get(v.r, v.Gateways, key); ok {
			return g, true
		}
	}
	return nil, false
}

// groupKeys are the ObjectKeys that a reference from an object of a group may mean, its own group first.
func groupKeys(group, name string) []string {
	ns, n := model.SplitKey(name)
	own := ObjectKey(model.Ref{Group: model.Group, Namespace: ns, Name: n})
	istio := ObjectKey(model.Ref{Group: model.IstioGroup, Namespace: ns, Name: n})
	if group == model.IstioGroup {
		return []string{istio, own}
	}
	return []string{own, istio}
}

// exportedTo tells whether a VirtualService is visible in a namespace.
func (v *vsRun) exportedTo(vs *VirtualService, namespace string) bool {
	all, list := exportList(vs)
	return all || slices.Contains(list, namespace)
}

// exportList says where a VirtualService is visible: everywhere, or in the listed namespaces, which may be none ("~").
func exportList(vs *VirtualService) (all bool, namespaces []string) {
	if len(vs.Spec.ExportTo) == 0 {
		return true, nil
	}
	for _, e := range vs.Spec.ExportTo {
		switch e {
		case "*":
			return true, nil
		case ".":
			namespaces = append(namespaces, vs.Namespace)
		case "~":
		default:
			namespaces = append(namespaces, e)
		}
	}
	slices.Sort(namespaces)
	return false, slices.Compact(namespaces)
}

// gatewayHost is a host of the object as a gateway's clients spell it: only a name without a dot is completed.
func (v *vsRun) gatewayHost(h string) string {
	h = strings.ToLower(strings.TrimSuffix(h, "."))
	if _, err := netip.ParseAddr(h); err == nil || h == "*" || strings.Contains(h, ".") {
		return h
	}
	return h + "." + v.vs.Namespace + ".svc." + v.cfg.ClusterDomain
}

// meshHost is a host of the object as the registry has it.
func (v *vsRun) meshHost(h string) string {
	h = strings.ToLower(strings.TrimSuffix(h, "."))
	if _, err := netip.ParseAddr(h); err == nil || strings.HasPrefix(h, "*") {
		return h
	}
	return v.fqdn(h)
}
