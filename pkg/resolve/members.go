package resolve

import (
	"cmp"
	"slices"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// members finds the endpoints of hosts: in EndpointSlices, in ServiceEntries, and by selector among pods and
// WorkloadEntries.
type members struct {
	in     *Inputs
	slices *table.Index[*model.EndpointSlice]
	// pods by namespace: selectors of ServiceEntries are few. entries by each label: all Services ask.
	pods    *table.Index[*model.Pod]
	entries *table.Index[*WorkloadEntry]
	// localities of nodes: a node's other changes, its heartbeats above all, stop here.
	localities *table.Derived[model.Locality]
}

func newMembers(e *table.Engine, in *Inputs) *members {
	return &members{
		in: in,
		slices: table.NewIndex(in.EndpointSlices, "slices by service", func(_ string, s *model.EndpointSlice) []string {
			if s.Service == "" {
				return nil
			}
			return []string{model.Key(s.Namespace, s.Service)}
		}),
		pods: table.NewIndex(in.Pods, "pods by namespace", func(_ string, p *model.Pod) []string { return []string{p.Namespace} }),
		entries: table.NewIndex(in.WorkloadEntries, "workload entries by label", func(_ string, w *WorkloadEntry) []string {
			return labelKeys(w.Namespace, w.Spec.Labels)
		}),
		localities: table.NewDerived(e, "node localities", func(r *table.Reader, key string) (model.Locality, bool) {
			n, ok := table.Get(r, in.Nodes, key)
			if !ok || n.Locality == (model.Locality{}) {
				return model.Locality{}, false
			}
			return n.Locality, true
		}, []table.Trigger{in.Nodes}, table.UrgentStage()),
	}
}

// wanted narrows the endpoints of a port: to the labels of a subset (nil takes all), and says what to keep.
type wanted struct {
	labels map[string]string
	keep   []string
	node   bool // keep the node
}

// gathering collects the endpoints of one cluster.
type gathering struct {
	wanted
	byAddress map[hostPort]int
	list      []model.ClusterEndpoint
}

type hostPort struct {
	address string
	port    uint16
}

// add takes an endpoint whose labels fit. The same address twice (a pod moves from one slice to another) is one endpoint,
// and drains only if it does so in both.
func (g *gathering) add(ep model.ClusterEndpoint, labels map[string]string) {
	for k, v := range g.labels {
		if got, ok := labels[k]; !ok || got != v {
			return
		}
	}
	for _, k := range g.keep {
		if v, ok := labels[k]; ok {
			if ep.Labels == nil {
				ep.Labels = map[string]string{}
			}
			ep.Labels[k] = v
		}
	}
	at := hostPort{ep.Address, ep.Port}
	if i, ok := g.byAddress[at]; ok {
		if g.list[i].Draining && !ep.Draining {
			g.list[i] = ep
		}
		return
	}
	g.byAddress[at] = len(g.list)
	g.list = append(g.list, ep)
}

// of lists the endpoints of a port of a host, by address.
func (m *members) of(r *table.Reader, h *model.Host, p *model.HostPort, w wanted) []model.ClusterEndpoint {
	g := &gathering{wanted: w, byAddress: map[hostPort]int{}}
	if h.Service != "" {
		m.fromSlices(r, g, h, p)
	}
	for i := range h.Inline {
		fromWorkload(g, h, p, &h.Inline[i])
	}
	if len(h.Selector) > 0 && h.ExternalName == "" {
		m.fromEntries(r, g, h, p)
		if h.Service == "" {
			m.fromPods(r, g, h, p)
		}
	}
	slices.SortFunc(g.list, func(a, b model.ClusterEndpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	rescue(g.list)
	return g.list
}

// rescue lets terminating endpoints take requests where there are no others, as kube-proxy does (KEP-1669).
func rescue(list []model.ClusterEndpoint) {
	for _, e := range list {
		if !e.Draining {
			return
		}
	}
	for i := range list {
		list[i].Draining = false
	}
}

func (m *members) fromSlices(r *table.Reader, g *gathering, h *model.Host, p *model.HostPort) {
	for _, e := range table.List(r, m.slices, h.Service) {
		s := e.Value
		i := slices.IndexFunc(s.Ports, func(q model.EndpointPort) bool {
			return q.Name == p.Name && q.Number != 0 && (q.Protocol == "TCP" || q.Protocol == "")
		})
		if i < 0 {
			continue
		}
		for j := range s.Endpoints {
			m.fromEndpoint(r, g, h, &s.Endpoints[j], s.Ports[i].Number)
		}
	}
}

func (m *members) fromEndpoint(r *table.Reader, g *gathering, h *model.Host, e *model.Endpoint, port uint16) {
	ready := e.Ready || h.PublishNotReady
	draining := !ready && e.Serving && e.Terminating
	if len(e.Addresses) == 0 || !ready && !draining {
		return
	}
	// Consumers use the first address (discovery.k8s.io/v1, Endpoint.addresses).
	ep := model.ClusterEndpoint{Address: e.Addresses[0].Unmap().String(), Port: port, Draining: draining}
	if g.node {
		ep.Node = e.Node
	}
	if e.Node != "" {
		ep.Locality, _ = table.Get(r, m.localities, e.Node)
	}
	if e.Zone != "" {
		ep.Locality.Zone = e.Zone
	}
	var labels map[string]string
	if e.Pod != "" && (len(g.labels) > 0 || len(g.keep) > 0) {
		if pod, ok := table.Get(r, m.in.Pods, e.Pod); ok {
			labels = pod.Labels
		}
	}
	g.add(ep, labels)
}

// fromEntries takes the WorkloadEntries of the host's namespace that its selector selects. For a Service the port is found
// by the name of its targetPort, as Istio does; for a ServiceEntry by the name of its port.
func (m *members) fromEntries(r *table.Reader, g *gathering, h *model.Host, p *model.HostPort) {
	selected := table.Select(r, m.entries, coarseKey(h.Namespace, h.Selector), func(_ string, w *WorkloadEntry) bool {
		return selects(h.Selector, w.Spec.Labels)
	})
	for _, e := range selected {
		if broken(&e.Value.Meta) {
			continue
		}
		if we, ok := workloadEndpoint(&e.Value.Spec, "spec", nil); ok {
			fromWorkload(g, h, p, &we)
		}
	}
}

func fromWorkload(g *gathering, h *model.Host, p *model.HostPort, we *model.WorkloadEndpoint) {
	if h.Resolution == model.ResolveEDS && !isAddr(we.Address) {
		return // names need a DNS resolution; the WorkloadEntry's status says so
	}
	port, ok := we.Ports[p.Name]
	if p.TargetName != "" {
		if port, ok = we.Ports[p.TargetName]; !ok {
			return
		}
	}
	if !ok {
		port = targetOf(p)
	}
	g.add(model.ClusterEndpoint{Address: we.Address, Port: port, Locality: we.Locality, Weight: we.Weight}, we.Labels)
}

func targetOf(p *model.HostPort) uint16 {
	if p.Target != 0 {
		return p.Target
	}
	return p.Number
}

// fromPods takes the ready pods of the host's namespace that its selector selects.
func (m *members) fromPods(r *table.Reader, g *gathering, h *model.Host, p *model.HostPort) {
	selected := table.Select(r, m.pods, h.Namespace, func(_ string, pod *model.Pod) bool {
		return selects(h.Selector, pod.Labels)
	})
	for _, e := range selected {
		pod := e.Value
		if !pod.Ready || len(pod.Addresses) == 0 {
			continue
		}
		port := pod.Port(p.Name)
		if port == 0 {
			port = targetOf(p)
		}
		ep := model.ClusterEndpoint{Address: pod.Addresses[0].Unmap().String(), Port: port}
		if pod.Node != "" {
			ep.Locality, _ = table.Get(r, m.localities, pod.Node)
		}
		g.add(ep, pod.Labels)
	}
}
