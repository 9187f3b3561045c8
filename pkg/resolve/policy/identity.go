package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
)

// Pod is a pod as policy sees it.
type Pod struct {
	UID, Namespace, Name, Node, Workload string
	// Identity is empty for a pod that uses its node's network.
	Identity       string
	ServiceAccount string
	Addresses      []netip.Addr
	Labels         map[string]string // that count
	Ports          []verdict.NamedPort
}

// Equal compares all fields.
func (p *Pod) Equal(o *Pod) bool {
	return p.UID == o.UID && p.Namespace == o.Namespace && p.Name == o.Name && p.Node == o.Node && p.Workload == o.Workload &&
		p.Identity == o.Identity && p.ServiceAccount == o.ServiceAccount && slices.Equal(p.Addresses, o.Addresses) &&
		maps.Equal(p.Labels, o.Labels) && slices.Equal(p.Ports, o.Ports)
}

// Identity is what all pods of one identity have in common, or a node.
type Identity struct {
	Name, Namespace, ServiceAccount string
	Labels                          map[string]string
	Ports                           []verdict.NamedPort
	Node                            bool
}

// Equal compares all fields.
func (id *Identity) Equal(o *Identity) bool {
	return id.Name == o.Name && id.Namespace == o.Namespace && id.ServiceAccount == o.ServiceAccount && id.Node == o.Node &&
		maps.Equal(id.Labels, o.Labels) && slices.Equal(id.Ports, o.Ports)
}

// identities are the tables of who there is.
type identities struct {
	pods *table.Derived[*Pod]
	// all are by their name, with the nodes as "node/<name>".
	all *table.Derived[*Identity]
	// coarse finds them by coarse keys.
	coarse *table.Index[*Identity]
	// namespaces are the labels of each, also of those that only pods tell of.
	namespaces *table.Derived[map[string]string]
	// labelled finds namespaces by "label=value", and all of them by "".
	labelled *table.Index[map[string]string]
	// numbers are the different numbers that a named port has, by portKey.
	numbers *table.Derived[[]verdict.NamedPort]
}

func newIdentities(e *table.Engine, cfg Config, in Inputs) *identities {
	out := &identities{}
	out.pods = table.NewDerived(e, "pods of policy", func(r *table.Reader, key string) (*Pod, bool) {
		p, ok := table.Get(r, in.Pods, key)
		if !ok {
			return nil, false
		}
		return podOf(cfg, p), true
	}, []table.Trigger{in.Pods}, table.UrgentStage())
	byIdentity := table.NewIndex(out.pods, "pods by identity", func(_ string, p *Pod) []string { return nonEmpty(p.Identity) })
	nodes := table.NewIndex(in.Nodes, "nodes by identity", func(name string, _ *model.Node) []string {
		return []string{verdict.NodeIdentity(name)}
	})
	out.all = table.NewDerived(e, "identities", func(r *table.Reader, name string) (*Identity, bool) {
		if node, ok := strings.CutPrefix(name, verdict.NodeIdentity("")); ok {
			n, found := table.Get(r, in.Nodes, node)
			if !found {
				return nil, false
			}
			return &Identity{Name: name, Labels: n.Labels, Node: true}, true
		}
		list := table.List(r, byIdentity, name)
		if len(list) == 0 {
			return nil, false
		}
		p := list[0].Value
		return &Identity{Name: name, Namespace: p.Namespace, ServiceAccount: p.ServiceAccount, Labels: p.Labels, Ports: p.Ports}, true
	}, []table.Trigger{byIdentity, nodes}, table.UrgentStage())
	out.coarse = table.NewIndex(out.all, "identities by label", func(_ string, id *Identity) []string { return id.coarseKeys() })
	out.declareNamespaces(e, in)
	out.declareNumbers(e)
	return out
}

func (d *identities) declareNamespaces(e *table.Engine, in Inputs) {
	inhabited := table.NewIndex(d.all, "inhabited namespaces", func(_ string, id *Identity) []string { return nonEmpty(id.Namespace) })
	d.namespaces = table.NewDerived(e, "namespaces of policy", func(r *table.Reader, name string) (map[string]string, bool) {
		ns, ok := table.Get(r, in.Namespaces, name)
		labels := map[string]string{}
		if ok {
			maps.Copy(labels, ns.Labels)
		}
		labels[nameLabel] = name
		return labels, true
	}, []table.Trigger{in.Namespaces, inhabited}, table.UrgentStage(), table.Equal(maps.Equal[map[string]string, map[string]string]))
	d.labelled = table.NewIndex(d.namespaces, "namespaces by label", func(_ string, labels map[string]string) []string {
		out := []string{""}
		for k, v := range labels {
			out = append(out, k+"="+v)
		}
		return out
	})
}

// declareNumbers finds the numbers of a named port by two steps: an identity more with a number that is known costs nothing.
func (d *identities) declareNumbers(e *table.Engine) {
	byPort := table.NewIndex(d.all, "identities by port", func(_ string, id *Identity) []string {
		out := make([]string, len(id.Ports))
		for i, p := range id.Ports {
			out[i] = fmt.Sprintf("%d %d %s", p.Protocol, p.Port, p.Name)
		}
		return out
	})
	ports := table.NewDerived(e, "named ports", func(_ *table.Reader, key string) (verdict.NamedPort, bool) {
		var p verdict.NamedPort
		_, err := fmt.Sscanf(key, "%d %d %s", &p.Protocol, &p.Port, &p.Name)
		return p, err == nil
	}, []table.Trigger{byPort}, table.UrgentStage(), table.Equal(func(a, b verdict.NamedPort) bool { return a == b }))
	byName := table.NewIndex(ports, "named ports by name", func(_ string, p verdict.NamedPort) []string {
		return []string{portKey(p.Name, p.Protocol), portKey(p.Name, 0)}
	})
	d.numbers = table.NewDerived(e, "numbers of named ports", func(r *table.Reader, key string) ([]verdict.NamedPort, bool) {
		var out []verdict.NamedPort
		for _, p := range table.List(r, byName, key) {
			out = append(out, p.Value)
		}
		slices.SortFunc(out, comparePorts)
		return out, len(out) > 0
	}, []table.Trigger{byName}, table.UrgentStage(), table.Equal(slices.Equal[[]verdict.NamedPort]))
}

// inNamespaces gives the namespaces that the selector reaches into; nil is all.
func (d *identities) inNamespaces(r *table.Reader, s *Selector) []string {
	if len(s.NamespaceLabels) == 0 {
		return s.Namespaces
	}
	out := []string{}
	if s.Namespaces != nil {
		for _, name := range s.Namespaces {
			if labels, ok := table.Get(r, d.namespaces, name); ok && meets(labels, s.NamespaceLabels) {
				out = append(out, name)
			}
		}
		return out
	}
	keys := []string{""}
	for _, q := range s.NamespaceLabels {
		if q.Operator == In {
			keys = keys[:0]
			for _, v := range q.Values {
				keys = append(keys, q.Key+"="+v)
			}
			break
		}
	}
	for _, key := range keys {
		for _, ns := range table.List(r, d.labelled, key) {
			if meets(ns.Value, s.NamespaceLabels) {
				out = append(out, ns.Key)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// members are the identities that a selector selects, sorted.
func (d *identities) members(r *table.Reader, s *Selector) []string {
	out := []string{}
	for _, key := range s.within(d.inNamespaces(r, s)) {
		for _, id := range table.List(r, d.coarse, key) {
			if s.selects(id.Value) {
				out = append(out, id.Key)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// selects tells whether a selector selects an identity, its namespace's labels included.
func (d *identities) selects(r *table.Reader, s *Selector, id *Identity) bool {
	if !s.selects(id) {
		return false
	}
	if len(s.NamespaceLabels) == 0 {
		return true
	}
	labels, _ := table.Get(r, d.namespaces, id.Namespace)
	return !id.Node && meets(labels, s.NamespaceLabels)
}

func podOf(cfg Config, p *model.Pod) *Pod {
	out := &Pod{
		UID: p.UID, Namespace: p.Namespace, Name: p.Name, Node: p.Node, ServiceAccount: p.ServiceAccount, Addresses: p.Addresses,
		Workload: p.Workload, Labels: counting(cfg.Labels, p.Labels), Ports: portsOf(p),
	}
	if out.ServiceAccount == "" {
		out.ServiceAccount = "default"
	}
	if !p.HostNetwork {
		out.Identity = cfg.Labels.Identity(verdict.Workload{
			TrustDomain: cfg.TrustDomain, Namespace: p.Namespace, ServiceAccount: out.ServiceAccount, Labels: p.Labels, Ports: out.Ports,
		})
	}
	return out
}

// counting is Filter.Apply, which makes no new map where all labels count.
func counting(f verdict.Filter, labels map[string]string) map[string]string {
	for k := range labels {
		if !f.Counts(k) {
			return f.Apply(labels)
		}
	}
	return labels
}

func portsOf(p *model.Pod) []verdict.NamedPort {
	var out []verdict.NamedPort
	for _, c := range p.Ports {
		if n, ok := ProtocolNumber(c.Protocol); ok {
			out = append(out, verdict.NamedPort{Name: c.Name, Protocol: n, Port: c.Number})
		}
	}
	slices.SortFunc(out, comparePorts)
	return slices.Compact(out)
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
