package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/verdict"
)

// The labels that Cilium gives to pods beside their own.
const (
	namespaceKey      = "io.kubernetes.pod.namespace"
	namespaceLabelKey = "io.cilium.k8s.namespace.labels"
	serviceAccountKey = "io.cilium.k8s.policy.serviceaccount"
	clusterKey        = "io.cilium.k8s.policy.cluster"
)

// Sources of labels, before the colon of a key. Without one it is any.
const (
	sourceAny      = "any"
	sourceK8s      = "k8s"
	sourceReserved = "reserved"
)

// ciliumSelector is what a selector of endpoints comes to. Endpoints are pods, and what has no labels but a reserved one.
type ciliumSelector struct {
	pods Selector
	// nobody says that no pod can be selected.
	nobody   bool
	entities verdict.Entity
	ranges   []Peer
	// ok is false for one that does not say what its author meant, which is told.
	ok bool
}

func (s *ciliumSelector) peers() []Peer {
	out := s.ranges
	if !s.nobody {
		out = append(out, Peer{Pods: &s.pods})
	}
	if s.entities != 0 {
		out = append(out, Peer{Entity: s.entities})
	}
	return out
}

// atoms are the reserved labels of what is no pod, by its entity. Whatever else Cilium reserves nobody has here.
func atoms() map[verdict.Entity]string {
	return map[verdict.Entity]string{verdict.World: "world", verdict.Host: "host", verdict.RemoteNode: "remote-node"}
}

// sourced is a requirement with its key parted.
type sourced struct {
	Requirement
	source string
}

// selector reads a selector of endpoints, of subjects or of peers.
func (c *ciliumRule) selector(l *metav1.LabelSelector, path string, subject bool) ciliumSelector {
	own := *l
	if subject && c.namespace != "" { // Cilium overwrites it
		own.MatchLabels = maps.Clone(l.MatchLabels)
		delete(own.MatchLabels, sourceK8s+":"+namespaceKey)
	}
	list, ok := c.requirements(&own, path)
	s := ciliumSelector{ok: ok, entities: verdict.World | verdict.Host | verdict.RemoteNode}
	all := make([]sourced, 0, len(list))
	reserved, namespaced, labelled, clustered := false, false, false, false
	for _, q := range list {
		r := part(q)
		all = append(all, r)
		reserved = reserved || r.source == sourceReserved
		namespaced = namespaced || r.Key == namespaceKey
		clustered = clustered || r.Key == clusterKey
		labelled = labelled || strings.HasPrefix(r.Key, namespaceLabelKey)
	}
	switch {
	case subject && c.namespace != "":
		s.pods.Namespaces, s.entities = []string{c.namespace}, 0
	case subject:
		s.entities = 0
	case reserved:
	case namespaced || labelled && c.namespace != "":
		if !clustered { // then it means this one, and what is no pod is of none
			s.entities = 0
		}
	case c.namespace != "":
		s.pods.Namespaces, s.entities = []string{c.namespace}, 0
	default:
		s.entities = 0 // all pods, and nothing else
	}
	for _, r := range all {
		if err := c.require(&s, r, len(all) == 1); err != nil {
			c.refuse(ReasonUnsupported, path, "%s: %v", r.Key, err)
			s.ok = false
		}
	}
	return s
}

// part parts the key of a requirement. "$host" is short for "reserved:host".
func part(q Requirement) sourced {
	if name, ok := strings.CutPrefix(q.Key, "$"); ok {
		q.Key = name
		return sourced{q, sourceReserved}
	}
	source, key, ok := strings.Cut(q.Key, ":")
	if !ok || source == "" {
		return sourced{q, sourceAny}
	}
	q.Key = key
	return sourced{q, source}
}

// require narrows a selector by one requirement, which may be the only one.
func (c *ciliumRule) require(s *ciliumSelector, r sourced, alone bool) error {
	switch r.source {
	case sourceReserved:
		return s.reserve(r.Requirement, alone)
	case sourceAny, sourceK8s:
	default:
		return fmt.Errorf("labels of source %q are not known; those of pods are k8s", r.source)
	}
	q := r.Requirement
	if !q.met(nil) {
		s.entities = 0
	}
	switch {
	case q.Key == namespaceKey:
		q.Key = nameLabel
		s.pods.NamespaceLabels = append(s.pods.NamespaceLabels, q)
	case strings.HasPrefix(q.Key, namespaceLabelKey+"."):
		q.Key = q.Key[len(namespaceLabelKey)+1:]
		s.pods.NamespaceLabels = append(s.pods.NamespaceLabels, q)
	case q.Key == clusterKey:
		s.nobody = s.nobody || !q.met(map[string]string{clusterKey: c.cluster})
	case q.Key == serviceAccountKey:
		s.serviceAccount(q)
	default:
		s.pods.Labels = append(s.pods.Labels, q)
	}
	return nil
}

// serviceAccount takes what every pod has.
func (s *ciliumSelector) serviceAccount(q Requirement) {
	switch q.Operator {
	case DoesNotExist:
		s.nobody = true
	case In:
		if s.pods.ServiceAccounts == nil {
			s.pods.ServiceAccounts = q.Values
			return
		}
		s.pods.ServiceAccounts = slices.DeleteFunc(slices.Clone(s.pods.ServiceAccounts), func(n string) bool { return !slices.Contains(q.Values, n) })
	case NotIn:
		not := NameRequirement{Of: OfPrincipal, Not: true}
		for _, v := range q.Values {
			not.Patterns = append(not.Patterns, "/ns/*/sa/"+v)
		}
		s.pods.Names = append(s.pods.Names, not)
	case Exists:
	}
}

// reserve takes a requirement on a reserved label, which no pod has, and whose value is empty.
func (s *ciliumSelector) reserve(q Requirement, alone bool) error {
	s.nobody = s.nobody || !q.met(nil)
	has := map[string]string{q.Key: ""}
	switch q.Key {
	case "kube-apiserver", "world-ipv4", "world-ipv6":
		if s.entities == 0 {
			return nil // it is about pods, or about nobody
		}
		if !alone || !q.met(has) || q.met(nil) {
			return fmt.Errorf("it can be asked for alone only; write the entity")
		}
		s.special(q.Key)
		return nil
	}
	for e, name := range atoms() {
		if name == q.Key && !q.met(has) || name != q.Key && !q.met(nil) {
			s.entities &^= e
		}
	}
	return nil
}

// special are those reserved labels that are no entity of one bit, or one that others share.
func (s *ciliumSelector) special(name string) {
	s.entities = 0
	switch name {
	case "kube-apiserver":
		s.entities = verdict.KubeAPIServer
	case "world-ipv4":
		s.ranges = []Peer{world(netip.PrefixFrom(netip.IPv4Unspecified(), 0))}
	case "world-ipv6":
		s.ranges = []Peer{world(netip.PrefixFrom(netip.IPv6Unspecified(), 0))}
	}
}

// plainKeys gives a selector of Services, whose keys' sources do not count.
func plainKeys(l *metav1.LabelSelector) *metav1.LabelSelector {
	out := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for k, v := range l.MatchLabels {
		out.MatchLabels[part(Requirement{Key: k}).Key] = v
	}
	for _, e := range l.MatchExpressions {
		e.Key = part(Requirement{Key: e.Key}).Key
		out.MatchExpressions = append(out.MatchExpressions, e)
	}
	return out
}
