package resolve

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Sidecar limits what pods see (Istio, Sidecar).
type Sidecar = model.Object[v1alpha1.SidecarSpec]

// egress is what one Sidecar that is served says.
type egress struct {
	meta model.Meta // identity and age only: what else changes in the object is no change here
	// selector picks pods of its namespace; without labels it is for all of them.
	selector map[string]string
	// hosts as written, "." included; nil sees everything.
	hosts *model.ScopeHosts
}

// sidecars are the Sidecars that are served, and what is said about all.
type sidecars struct {
	served      *table.Derived[*egress]
	byNamespace *table.Index[*egress]
	status      *table.Derived[*model.ObjectStatus]
	root        string
}

func newSidecars(e *table.Engine, cfg Config, in *Inputs) *sidecars {
	s := &sidecars{root: cfg.RootNamespace}
	s.served = table.NewDerived(e, "sidecars", func(r *table.Reader, key string) (*egress, bool) {
		o, ok := table.Get(r, in.Sidecars, key)
		if !ok {
			return nil, false
		}
		return egressOf(o, nil)
	}, []table.Trigger{in.Sidecars}, table.UrgentStage())
	s.byNamespace = table.NewIndex(s.served, "sidecars by namespace", func(_ string, g *egress) []string { return []string{g.meta.Namespace} })
	return s
}

// declareStatus declares what is said about Sidecars; it is not of the urgent lane.
func (s *sidecars) declareStatus(e *table.Engine, in *Inputs) {
	s.status = table.NewDerived(e, "sidecar status", func(r *table.Reader, key string) (*model.ObjectStatus, bool) {
		o, ok := table.Get(r, in.Sidecars, key)
		if !ok {
			return nil, false
		}
		n := &notes{}
		if g, served := egressOf(o, n); served && len(g.selector) == 0 {
			if w := s.general(r, o.Namespace); w != nil && w.meta.Ref != o.Ref {
				n.refuse(reasonConflict, "spec.workloadSelector", "%s (%s) is older and has no workloadSelector either, so that it is the one of the namespace; "+
					"select workloads, or merge the two", w.meta.Ref, w.meta.Group)
			}
		}
		return n.status(&o.Meta), true
	}, []table.Trigger{in.Sidecars})
}

// general is the one of a namespace that selects no workloads, the oldest of several; nil without any.
func (s *sidecars) general(r *table.Reader, namespace string) *egress {
	var best *egress
	for _, e := range table.List(r, s.byNamespace, namespace) {
		if g := e.Value; len(g.selector) == 0 && (best == nil || g.meta.Older(&best.meta)) {
			best = g
		}
	}
	return best
}

// selecting are those of a namespace that select workloads, oldest first.
func (s *sidecars) selecting(r *table.Reader, namespace string) []*egress {
	var out []*egress
	for _, e := range table.List(r, s.byNamespace, namespace) {
		if len(e.Value.selector) > 0 {
			out = append(out, e.Value)
		}
	}
	slices.SortFunc(out, func(a, b *egress) int {
		if a.meta.Older(&b.meta) {
			return -1
		}
		return 1
	})
	return out
}

// egressOf reads a Sidecar. One with a host that cannot be read is not served as a whole: what it leaves out would be
// missing on the nodes.
func egressOf(o *Sidecar, n *notes) (*egress, bool) {
	g := &egress{meta: model.Meta{Ref: o.Ref, Created: o.Created}}
	ok := !broken(&o.Meta)
	if ws := o.Spec.WorkloadSelector; ws != nil {
		g.selector = ws.Labels
		if len(ws.Labels) == 0 {
			n.warn(reasonInvalid, "spec.workloadSelector.labels", "without labels it is for all pods of the namespace; name at least one label, or remove the selector")
		}
	}
	sidecarWarnings(&o.Spec, n)
	if len(o.Spec.Egress) == 0 {
		return g, ok
	}
	g.hosts = &model.ScopeHosts{}
	for i := range o.Spec.Egress {
		l, path := &o.Spec.Egress[i], indexed("spec.egress", i)
		if len(l.Hosts) == 0 {
			n.refuse(reasonInvalid, path+".hosts", `at least one host is needed, as "namespace/host"; "~/*" is none`)
			ok = false
		}
		for j, text := range l.Hosts {
			h, why := egressHost(text)
			if why != "" {
				n.refuse(reasonInvalid, indexed(path+".hosts", j), "%q: %s", text, why)
				ok = false
				continue
			}
			if h.Host != "*" && !strings.Contains(h.Host, ".") {
				n.warn(reasonUnresolved, indexed(path+".hosts", j), "%q is no full name, so that no Service has it; write %s.<namespace>.svc.<cluster domain>, or *", h.Host, h.Host)
			}
			if h.Namespace != "~" {
				g.hosts.List = append(g.hosts.List, h)
			}
		}
	}
	slices.SortFunc(g.hosts.List, compareHosts)
	g.hosts.List = slices.Compact(g.hosts.List)
	if slices.Contains(g.hosts.List, model.ScopeHost{Namespace: "*", Host: "*"}) {
		g.hosts = nil
	}
	return g, ok
}

func compareHosts(a, b model.ScopeHost) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Host, b.Host))
}

// egressHost reads "namespace/host"; why says what is wrong with it.
func egressHost(text string) (h model.ScopeHost, why string) {
	ns, host, ok := strings.Cut(text, "/")
	h = model.ScopeHost{Namespace: ns, Host: plainHost(host)}
	switch {
	case !ok || ns == "" || host == "":
		return h, `write "namespace/host", with . for the pod's own namespace and * for all`
	case strings.Contains(host, "/"):
		return h, `there is more than one slash; write "namespace/host"`
	case ns != "*" && ns != "." && ns != "~" && (strings.ContainsAny(ns, "._") || !isHostName(ns)):
		return h, ns + " is no namespace; name one, or use . for the pod's own, * for all, ~ for none"
	case h.Host == "*":
		return h, ""
	case strings.HasPrefix(h.Host, "*") && !strings.HasPrefix(h.Host, "*."):
		return h, "the wildcard must be a whole label, as in *.example.com"
	case !isHostName(strings.TrimPrefix(h.Host, "*.")):
		return h, host + " is no host name; a wildcard may only be the first label"
	}
	return h, ""
}

// sidecarWarnings names the fields without effect: an Envoy serves all pods of its node.
func sidecarWarnings(s *v1alpha1.SidecarSpec, n *notes) {
	if len(s.Ingress) > 0 {
		n.warn(reasonUnsupported, "spec.ingress", "it has no effect: the node's Envoy takes the traffic of all its pods on the ports that they listen on")
	}
	if s.InboundConnectionPool != nil {
		n.warn(reasonUnsupported, "spec.inboundConnectionPool", "it has no effect; limit connections by the connectionPool of a DestinationRule")
	}
	if s.OutboundTrafficPolicy != nil {
		n.warn(reasonUnsupported, "spec.outboundTrafficPolicy", "it has no effect: what no host of the mesh is for passes through")
	}
	for i := range s.Egress {
		l, path := &s.Egress[i], indexed("spec.egress", i)
		for _, f := range []struct {
			set  bool
			name string
		}{{l.Port != nil, ".port"}, {l.Bind != "", ".bind"}, {l.CaptureMode != "", ".captureMode"}} {
			if f.set {
				n.warn(reasonUnsupported, path+f.name, "it has no effect: the hosts are seen on all their ports and addresses")
			}
		}
	}
}
