package table_test

import (
	"fmt"
	"net/netip"
	"strings"

	. "fairlead.io/fairlead/pkg/table"
)

// The rows of the oracle's little mesh. Keys are "namespace/name".
type (
	service struct{ Host, Port string }
	slice   struct{ Service, Pods string } // Service: a key; Pods: keys, by space
	pod     struct{ IP, Labels, Node string }
	policy  struct{ Label, Op, Value string } // selects pods of its namespace: Label Op Value
	route   struct{ Hosts, Text string }
	block   struct{ CIDRs, Text string }
)

// world is an engine with every read kind in use: selectors with absence, wildcard hosts, CIDR blocks, chains of
// several stages, an urgent lane, and an urgent table that depends on a table that is not.
type world struct {
	e        *Engine
	services *Source[service]
	slices   *Source[slice]
	pods     *Source[pod]
	policies *Source[policy]
	routes   *Source[route]
	blocks   *Source[block]
	outputs  []*Output[string]
	derived  []string
	onRun    func(urgent bool) // called in each derived function
}

func namespace(key string) string { ns, _, _ := strings.Cut(key, "/"); return ns }

func byNamespace[V any](key string, _ V) []string { return []string{namespace(key)} }

func newWorld() *world {
	w := &world{e: New(Options{Strict: true, Why: true}), onRun: func(bool) {}}
	w.services = NewSource[service](w.e, "services")
	w.slices = NewSource[slice](w.e, "slices", Urgent())
	w.pods = NewSource[pod](w.e, "pods")
	w.policies = NewSource[policy](w.e, "policies")
	w.routes = NewSource[route](w.e, "routes")
	w.blocks = NewSource[block](w.e, "blocks")
	endpoints := w.endpoints()
	selected := w.selected()
	clusters := w.clusters(endpoints, selected)
	w.last(endpoints, selected, clusters)
	return w
}

func derive(w *world, name string, triggers []Trigger, urgent bool, fn func(r *Reader, key string) (string, bool)) *Derived[string] {
	var opts []Option
	if urgent {
		opts = append(opts, UrgentStage())
	}
	d := NewDerived(w.e, name, func(r *Reader, key string) (string, bool) {
		w.onRun(urgent)
		return fn(r, key)
	}, triggers, opts...)
	w.outputs = append(w.outputs, Publish(d))
	w.derived = append(w.derived, name)
	return d
}

// endpoints: the urgent lane proper, by service.
func (w *world) endpoints() *Derived[string] {
	bySvc := NewIndex(w.slices, "service", func(_ string, s slice) []string { return []string{s.Service} })
	return derive(w, "endpoints", []Trigger{bySvc}, true, func(r *Reader, key string) (string, bool) {
		svc, ok := Get(r, w.services, key)
		var b strings.Builder
		for _, sl := range List(r, bySvc, key) {
			for _, p := range strings.Fields(sl.Value.Pods) {
				if v, ok := Get(r, w.pods, p); ok {
					fmt.Fprintf(&b, "%s:%s ", v.IP, svc.Port)
				}
			}
		}
		return b.String(), ok
	})
}

// selected: the pods that each policy selects, then for each pod its policies and the blocks around its address.
func (w *world) selected() *Derived[string] {
	labels := derive(w, "labels", []Trigger{w.pods}, false, func(r *Reader, key string) (string, bool) {
		p, ok := Get(r, w.pods, key)
		return p.Labels, ok
	})
	labelsByNS := NewIndex(labels, "namespace", byNamespace[string])
	sel := derive(w, "selected", []Trigger{w.policies}, false, func(r *Reader, key string) (string, bool) {
		p, _ := Get(r, w.policies, key)
		hits := Select(r, labelsByNS, namespace(key), func(_ string, labels string) bool { return p.selects(labels) })
		return keysOf(hits), len(hits) > 0
	})
	byPod := NewIndex(sel, "pod", func(_ string, pods string) []string { return strings.Fields(pods) })
	blocks := NewPrefixIndex(w.blocks, "cidr", func(_ string, b block) (out []netip.Prefix) {
		for _, c := range strings.Fields(b.CIDRs) {
			out = append(out, netip.MustParsePrefix(c))
		}
		return out
	})
	return derive(w, "guard", []Trigger{w.pods}, false, func(r *Reader, key string) (string, bool) {
		p, _ := Get(r, w.pods, key)
		ip, err := netip.ParseAddr(p.IP)
		if err != nil {
			return "no address", true
		}
		text := keysOf(List(r, byPod, key))
		for _, b := range Containing(r, blocks, ip) {
			text += " " + b.Key + "=" + b.Value.Text
		}
		return text, true
	})
}

func (p policy) selects(labels string) bool {
	value, has := "", false
	for _, l := range strings.Fields(labels) {
		if k, v, _ := strings.Cut(l, "="); k == p.Label {
			value, has = v, true
		}
	}
	switch p.Op {
	case "In":
		return has && value == p.Value
	case "NotIn":
		return !has || value != p.Value
	case "Exists":
		return has
	}
	return !has // DoesNotExist
}

// clusters: each service with the routes of its host and whether it has endpoints and its namespace has policies.
func (w *world) clusters(endpoints, guard *Derived[string]) *Derived[string] {
	byHost := NewIndex(w.routes, "host", func(_ string, v route) (keys []string) {
		for _, h := range strings.Fields(v.Hosts) {
			keys = append(keys, HostKeys(h)...)
		}
		return keys
	})
	policies := NewIndex(w.policies, "namespace", byNamespace[policy])
	live := NewIndex(endpoints, "namespace", byNamespace[string])
	return derive(w, "clusters", []Trigger{w.services}, false, func(r *Reader, key string) (string, bool) {
		s, _ := Get(r, w.services, key)
		text := s.Host
		for _, m := range MatchHost(r, byHost, s.Host) {
			text += " " + m.Key + "=" + m.Value.Text
		}
		for _, m := range UnderHost(r, byHost, "*."+s.Host) {
			text += " under " + m.Key
		}
		ep, ok := Get(r, endpoints, key)
		return fmt.Sprint(text, " eps=", ep, ok, Any(r, policies, namespace(key)), Any(r, live, "b")), s.Host != ""
	})
}

// last: what a node gets (all pods' guards on it), and an urgent table that hangs on one that is not.
func (w *world) last(endpoints, guard, clusters *Derived[string]) {
	byNode := NewIndex(w.pods, "node", func(_ string, p pod) []string { return []string{p.Node} })
	derive(w, "nodes", []Trigger{byNode}, false, func(r *Reader, node string) (string, bool) {
		text := ""
		for _, p := range List(r, byNode, node) {
			g, ok := Get(r, guard, p.Key)
			text += fmt.Sprint(p.Key, ":", g, ok, ";")
		}
		for _, b := range All(r, w.blocks) {
			text += b.Key
		}
		return text, node != ""
	})
	derive(w, "late", []Trigger{clusters, endpoints}, true, func(r *Reader, key string) (string, bool) {
		ep, has := Get(r, endpoints, key)
		if ep == "" {
			return fmt.Sprint("empty ", has), true
		}
		c, ok := Get(r, clusters, key)
		return ep + c, ok
	})
}

// text is all that the snapshot holds.
func (w *world) text(s *Snapshot) string {
	var b strings.Builder
	for _, o := range w.outputs {
		n := 0
		o.Range(s, func(key, v string) bool {
			n++
			fmt.Fprintf(&b, "%s %s %q\n", o.Name(), key, v)
			return true
		})
		if n != o.Len(s) {
			fmt.Fprintf(&b, "%s: Len %d, Range %d\n", o.Name(), o.Len(s), n)
		}
	}
	return b.String()
}
