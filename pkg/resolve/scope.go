package resolve

import (
	"maps"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Scopes say what each node must be sent: the union of what its pods see. They are of the urgent lane, so that a node is
// sent what a new pod needs before the pod's containers run.
//
// Pods are read by node and namespace only, and their labels only where a Sidecar selects workloads. So what happens to a
// pod after it was bound costs nothing here.
type Scopes struct {
	// Nodes is keyed by the node's name. A node that has neither an object nor a pod has no row.
	Nodes *table.Derived[*model.NodeScope]

	cfg        Config
	sidecars   *sidecars
	namespaces *table.Derived[*namespaceScope]
	pods       *table.Index[*model.Pod] // by placeKey
	places     *table.Index[*place]     // by node
}

// namespaceScope is what the Sidecars say of one namespace; one without any has no row.
type namespaceScope struct {
	general *model.ScopeHosts // nil sees everything
	chosen  []chosenScope     // oldest first
}

type chosenScope struct {
	selector map[string]string
	hosts    *model.ScopeHosts
}

// place is what the pods of one namespace on one node see.
type place struct {
	node   string
	groups []model.ScopeGroup
}

func newScopes(e *table.Engine, cfg Config, in *Inputs) *Scopes {
	s := &Scopes{cfg: cfg, sidecars: newSidecars(e, cfg, in)}
	s.pods = table.NewIndex(in.Pods, "pods by place", func(_ string, p *model.Pod) []string {
		if p.Node == "" || p.HostNetwork { // the traffic of a hostNetwork pod is the node's, and does not come by
			return nil
		}
		return []string{p.Node + "/" + p.Namespace}
	})
	inhabited := table.NewIndex(in.Pods, "namespaces of pods", func(_ string, p *model.Pod) []string { return []string{p.Namespace} })
	s.namespaces = table.NewDerived(e, "namespace scopes", s.namespace, []table.Trigger{inhabited}, table.UrgentStage())
	places := table.NewDerived(e, "places", s.place, []table.Trigger{s.pods}, table.UrgentStage())
	s.places = table.NewIndex(places, "places by node", func(_ string, p *place) []string { return []string{p.node} })
	s.Nodes = table.NewDerived(e, "node scopes", s.node, []table.Trigger{in.Nodes, s.places}, table.UrgentStage())
	return s
}

// namespace is what the Sidecars say of a namespace: its own, else those of the root namespace.
func (s *Scopes) namespace(r *table.Reader, ns string) (*namespaceScope, bool) {
	out := &namespaceScope{}
	g := s.sidecars.general(r, ns)
	if g == nil && ns != s.cfg.RootNamespace {
		g = s.sidecars.general(r, s.cfg.RootNamespace)
	}
	if g != nil {
		out.general = within(g.hosts, ns)
	}
	for _, c := range s.sidecars.selecting(r, ns) {
		out.chosen = append(out.chosen, chosenScope{c.selector, within(c.hosts, ns)})
	}
	return out, out.general != nil || len(out.chosen) > 0
}

// within resolves ".", the namespace of the pod.
func within(h *model.ScopeHosts, ns string) *model.ScopeHosts {
	if h == nil || !slices.ContainsFunc(h.List, func(p model.ScopeHost) bool { return p.Namespace == "." }) {
		return h
	}
	out := &model.ScopeHosts{List: slices.Clone(h.List)}
	for i := range out.List {
		if out.List[i].Namespace == "." {
			out.List[i].Namespace = ns
		}
	}
	slices.SortFunc(out.List, compareHosts)
	out.List = slices.Compact(out.List)
	return out
}

// of is what a pod with these labels sees.
func (n *namespaceScope) of(labels map[string]string) *model.ScopeHosts {
	if n == nil {
		return nil
	}
	for _, c := range n.chosen {
		if selects(c.selector, labels) {
			return c.hosts
		}
	}
	return n.general
}

// Equal tells whether two rows say the same.
func (n *namespaceScope) Equal(o *namespaceScope) bool {
	return n.general.Equal(o.general) && slices.EqualFunc(n.chosen, o.chosen, func(a, b chosenScope) bool {
		return a.hosts.Equal(b.hosts) && maps.Equal(a.selector, b.selector)
	})
}

func (s *Scopes) place(r *table.Reader, key string) (*place, bool) {
	node, ns, _ := strings.Cut(key, "/")
	n, _ := table.Get(r, s.namespaces, ns)
	p := &place{node: node}
	if n == nil || len(n.chosen) == 0 {
		p.groups = []model.ScopeGroup{{Namespace: ns, Hosts: n.of(nil)}}
		return p, true
	}
	for _, e := range table.List(r, s.pods, key) {
		p.groups = addGroup(p.groups, model.ScopeGroup{Namespace: ns, Hosts: n.of(e.Value.Labels)})
	}
	sortGroups(p.groups)
	return p, true
}

// Equal tells whether two rows say the same.
func (p *place) Equal(o *place) bool {
	return p.node == o.node && slices.EqualFunc(p.groups, o.groups, sameGroup)
}

// node is what the places of a node see, and the clients behind the stub listeners that every node has.
func (s *Scopes) node(r *table.Reader, name string) (*model.NodeScope, bool) {
	out := &model.NodeScope{}
	for _, e := range table.List(r, s.places, name) {
		out.Groups = append(out.Groups, e.Value.groups...)
	}
	for _, stub := range s.cfg.Stubs {
		n, _ := s.namespace(r, stub.Namespace)
		out.Groups = addGroup(out.Groups, model.ScopeGroup{Namespace: stub.Namespace, Hosts: n.of(stub.Labels)})
	}
	sortGroups(out.Groups)
	return out, true
}

func addGroup(list []model.ScopeGroup, g model.ScopeGroup) []model.ScopeGroup {
	if slices.ContainsFunc(list, func(o model.ScopeGroup) bool { return sameGroup(o, g) }) {
		return list
	}
	return append(list, g)
}

func sameGroup(a, b model.ScopeGroup) bool {
	return a.Namespace == b.Namespace && a.Hosts.Equal(b.Hosts)
}

// sortGroups makes lists of equal groups equal: by namespace, what sees everything first, then by hosts.
func sortGroups(list []model.ScopeGroup) {
	slices.SortFunc(list, func(a, b model.ScopeGroup) int {
		switch {
		case a.Namespace != b.Namespace:
			return strings.Compare(a.Namespace, b.Namespace)
		case a.Hosts == b.Hosts:
			return 0
		case a.Hosts == nil:
			return -1
		case b.Hosts == nil:
			return 1
		}
		return slices.CompareFunc(a.Hosts.List, b.Hosts.List, compareHosts)
	})
}
