package policy

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

type ciliumObject = model.Object[ciliumv2.Rules]

// specCilium evaluates rules over labels alone, as Cilium's documentation tells it: everybody is an endpoint with labels, those of
// the world and of nodes are reserved ones.
type specCilium struct{ objects []*ciliumObject }

// labelsOf are the labels of a party, by source and key.
func labelsOf(p *party) map[string]string {
	out := map[string]string{}
	reserve := func(e verdict.Entity, name string) {
		if p.entities&e != 0 {
			out["reserved:"+name] = ""
		}
	}
	reserve(verdict.World, "world")
	reserve(verdict.Host, "host")
	reserve(verdict.RemoteNode, "remote-node")
	reserve(verdict.KubeAPIServer, "kube-apiserver")
	if p.entities&verdict.World != 0 {
		out["reserved:world-ipv"+map[bool]string{true: "4", false: "6"}[p.address.Is4()]] = ""
	}
	if !p.pod() {
		return out
	}
	for k, v := range p.labels {
		out["k8s:"+k] = v
	}
	for k, v := range specNamespaces[p.namespace] {
		out["k8s:io.cilium.k8s.namespace.labels."+k] = v
	}
	out["k8s:io.kubernetes.pod.namespace"] = p.namespace
	out["k8s:io.cilium.k8s.policy.serviceaccount"] = p.account
	out["k8s:io.cilium.k8s.policy.cluster"] = "default"
	return out
}

func (specCilium) matches(s *metav1.LabelSelector, p *party) bool {
	labels := labelsOf(p)
	return specLabels(s, func(key string) (string, bool) {
		if strings.HasPrefix(key, "k8s:") || strings.HasPrefix(key, "reserved:") {
			v, ok := labels[key]
			return v, ok
		}
		for _, source := range []string{"k8s:", "reserved:"} {
			if v, ok := labels[source+strings.TrimPrefix(key, "any:")]; ok {
				return v, true
			}
		}
		return "", false
	})
}

// peer is a selector of peers, with the namespace that it has when it names none.
func (c specCilium) peer(s metav1.LabelSelector, namespace string, p *party) bool {
	keys := sortedKeys(s.MatchLabels)
	for _, e := range s.MatchExpressions {
		keys = append(keys, e.Key)
	}
	has := func(prefix string) bool {
		return slices.ContainsFunc(keys, func(k string) bool {
			return strings.HasPrefix(k, prefix) || strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(k, "any:"), "k8s:"), prefix)
		})
	}
	if has("reserved:") {
		return c.matches(&s, p)
	}
	where := metav1.LabelSelector{}
	switch {
	case has("io.kubernetes.pod.namespace"):
	case namespace == "":
		where.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "k8s:io.kubernetes.pod.namespace", Operator: metav1.LabelSelectorOpExists}}
	case !has("io.cilium.k8s.namespace.labels"):
		where.MatchLabels = map[string]string{"k8s:io.kubernetes.pod.namespace": namespace}
	}
	if !has("io.cilium.k8s.policy.cluster") { // --policy-default-local-cluster, which is the default
		here := metav1.LabelSelector{MatchLabels: map[string]string{"k8s:io.cilium.k8s.policy.cluster": "default"}}
		return c.matches(&here, p) && c.matches(&where, p) && c.matches(&s, p)
	}
	return c.matches(&where, p) && c.matches(&s, p)
}

func (specCilium) entity(e string, p *party) bool {
	has := func(name string) bool {
		_, ok := labelsOf(p)["reserved:"+name]
		return ok
	}
	switch e {
	case "all":
		return true
	case "cluster":
		return p.pod() || has("host") || has("remote-node") || has("kube-apiserver")
	}
	return has(e)
}

// cidr is about what is outside of the cluster.
func (specCilium) cidr(text string, p *party) bool {
	if !strings.Contains(text, "/") {
		return p.entities&verdict.World != 0 && netip.MustParseAddr(text) == p.address
	}
	return p.entities&verdict.World != 0 && netip.MustParsePrefix(text).Masked().Contains(p.address)
}

type specPeers struct {
	endpoints []metav1.LabelSelector
	cidr      []string
	sets      []ciliumv2.CIDRRule
	entities  []string
}

// who gives whether a party is a peer; ports is whether the entry has any.
func (c specCilium) who(s specPeers, namespace string, ports bool, p *party) bool {
	if s.endpoints == nil && s.cidr == nil && s.sets == nil && s.entities == nil {
		return ports
	}
	return slices.ContainsFunc(s.endpoints, func(l metav1.LabelSelector) bool { return c.peer(l, namespace, p) }) ||
		slices.ContainsFunc(s.cidr, func(t string) bool { return c.cidr(t, p) }) ||
		slices.ContainsFunc(s.sets, func(r ciliumv2.CIDRRule) bool {
			return c.cidr(r.CIDR, p) && !slices.ContainsFunc(r.Except, func(t string) bool { return c.cidr(t, p) })
		}) ||
		slices.ContainsFunc(s.entities, func(e string) bool { return c.entity(e, p) })
}

func (specCilium) port(q ciliumv2.PortProtocol, destination *party, protocol uint8, port uint16) bool {
	numbers := map[string]uint8{"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
	any := q.Protocol == "" || q.Protocol == "ANY"
	if any && protocol != TCP && protocol != UDP && protocol != SCTP || !any && numbers[q.Protocol] != protocol {
		return false
	}
	n, err := strconv.Atoi(q.Port)
	switch {
	case err != nil:
		return slices.Contains(destination.ports, verdict.NamedPort{Name: q.Port, Protocol: protocol, Port: port})
	case n == 0:
		return true
	case q.EndPort == 0:
		return n == int(port)
	}
	return n <= int(port) && int(port) <= int(q.EndPort)
}

// allows gives whether ports match: the second is false where more is asked for, which nobody can answer.
func (c specCilium) ports(rules []ciliumv2.PortRule, icmps []ciliumv2.ICMPRule, destination *party, protocol uint8, port uint16) (plain, restricted bool) {
	if len(rules)+len(icmps) == 0 {
		return true, false
	}
	for _, r := range rules {
		if slices.ContainsFunc(r.Ports, func(q ciliumv2.PortProtocol) bool { return c.port(q, destination, protocol, port) }) {
			plain, restricted = plain || r.Rules == nil, restricted || r.Rules != nil
		}
	}
	for _, r := range icmps {
		for _, f := range r.Fields {
			family := map[string]uint8{"": ICMP, "IPv4": ICMP, "IPv6": ICMPv6}[f.Family]
			plain = plain || family == protocol && port>>8 == uint16(f.Type.IntVal)
		}
	}
	return plain, restricted
}

func (c specCilium) allowed(d verdict.Direction, subject, other *party, protocol uint8, port uint16) bool {
	destination := other
	if d == verdict.Ingress {
		destination = subject
	}
	isolated, allow, deny := false, false, false
	for _, o := range c.objects {
		rules := slices.Clone(o.Spec.Specs)
		if o.Spec.Spec != nil {
			rules = append(rules, *o.Spec.Spec)
		}
		for i := range rules {
			r := &rules[i]
			if o.Namespace != "" && subject.namespace != o.Namespace || !c.matches(r.EndpointSelector, subject) {
				continue
			}
			entries, asked := len(r.Ingress)+len(r.IngressDeny), r.EnableDefaultDeny.Ingress
			if d == verdict.Egress {
				entries, asked = len(r.Egress)+len(r.EgressDeny), r.EnableDefaultDeny.Egress
			}
			isolates := entries > 0
			if asked != nil {
				isolates = *asked
			}
			isolated = isolated || isolates
			entry := func(s specPeers, ports []ciliumv2.PortRule, icmps []ciliumv2.ICMPRule, denies bool) {
				if !c.who(s, o.Namespace, len(ports)+len(icmps) > 0, other) {
					return
				}
				plain, restricted := c.ports(ports, icmps, destination, protocol, port)
				if denies {
					deny = deny || plain
					return
				}
				allow = allow || plain
				deny = deny || restricted && !isolates // nobody looks, and it must not pass unseen
			}
			plainly := func(list []ciliumv2.PortDenyRule) (out []ciliumv2.PortRule) {
				for _, p := range list {
					out = append(out, ciliumv2.PortRule{Ports: p.Ports})
				}
				return out
			}
			if d == verdict.Ingress {
				for _, e := range r.Ingress {
					entry(specPeers{e.FromEndpoints, e.FromCIDR, e.FromCIDRSet, e.FromEntities}, e.ToPorts, e.ICMPs, false)
				}
				for _, e := range r.IngressDeny {
					entry(specPeers{e.FromEndpoints, e.FromCIDR, e.FromCIDRSet, e.FromEntities}, plainly(e.ToPorts), e.ICMPs, true)
				}
				continue
			}
			for _, e := range r.Egress {
				entry(specPeers{e.ToEndpoints, e.ToCIDR, e.ToCIDRSet, e.ToEntities}, e.ToPorts, e.ICMPs, false)
			}
			for _, e := range r.EgressDeny {
				entry(specPeers{e.ToEndpoints, e.ToCIDR, e.ToCIDRSet, e.ToEntities}, plainly(e.ToPorts), e.ICMPs, true)
			}
		}
	}
	allow = allow || isolated && d == verdict.Ingress && other.entities&verdict.Host != 0
	return !deny && (allow || !isolated)
}

var endpointKeys = map[string][]string{
	"app": {"web", "db"}, "k8s:app": {"web", "cart"}, "any:tier": {"front", "back"}, "k8s:io.kubernetes.pod.namespace": {"shop", "bank"},
	"io.kubernetes.pod.namespace": {"shop", "ops"}, "k8s:io.cilium.k8s.namespace.labels.team": {"red", "blue"},
	"io.cilium.k8s.policy.serviceaccount": {"web", "teller"}, "k8s:io.cilium.k8s.policy.cluster": {"default", "far"},
	"reserved:host": {""}, "reserved:world": {""}, "reserved:remote-node": {""}, "reserved:init": {""},
}

func randomCilium(r *rand.Rand, namespace string) *ciliumObject {
	o := &ciliumObject{Meta: model.Meta{Ref: model.Ref{Kind: "CiliumNetworkPolicy", Namespace: namespace, Name: "x"}}}
	peers := func() (s specPeers) {
		switch r.IntN(6) {
		case 0, 1:
			s.endpoints = some(r, 2, func() metav1.LabelSelector { return randomLabels(r, endpointKeys) })
			if s.endpoints == nil {
				s.endpoints = []metav1.LabelSelector{}
			}
		case 2:
			s.cidr = []string{pick(r, "10.1.0.0/16", "203.0.113.7", "::/0", "0.0.0.0/0")}
		case 3:
			s.sets = []ciliumv2.CIDRRule{{CIDR: "0.0.0.0/0", Except: some(r, 2, func() string { return pick(r, "10.0.0.0/8", "203.0.113.0/24") })}}
		case 4:
			s.entities = []string{pick(r, "all", "world", "world-ipv4", "world-ipv6", "cluster", "host", "remote-node", "kube-apiserver", "none", "health")}
		}
		return s
	}
	port := func() ciliumv2.PortProtocol {
		p := ciliumv2.PortProtocol{Port: pick(r, "80", "443", "0", "http", "dns"), Protocol: pick(r, "", "ANY", "TCP", "UDP", "SCTP")}
		if p.Port == "80" && r.IntN(2) == 0 {
			p.EndPort = pick[int32](r, 443, 2000)
		}
		return p
	}
	ports := func() ([]ciliumv2.PortRule, []ciliumv2.ICMPRule) {
		if r.IntN(5) == 0 {
			return nil, []ciliumv2.ICMPRule{{Fields: []ciliumv2.ICMPField{{Family: pick(r, "", "IPv4", "IPv6"), Type: &intstr.IntOrString{IntVal: pick[int32](r, 8, 128)}}}}}
		}
		return some(r, 2, func() ciliumv2.PortRule {
			out := ciliumv2.PortRule{Ports: some(r, 2, port)}
			if r.IntN(5) == 0 {
				out.Rules = &ciliumv2.L7Rules{HTTP: []ciliumv2.HTTPRule{{Path: "/"}}}
			}
			return out
		}), nil
	}
	denied := func() (out []ciliumv2.PortDenyRule, icmps []ciliumv2.ICMPRule) {
		rules, icmps := ports()
		for _, p := range rules {
			out = append(out, ciliumv2.PortDenyRule{Ports: p.Ports})
		}
		return out, icmps
	}
	rule := func() ciliumv2.Rule {
		subject := randomLabels(r, map[string][]string{"app": {"web", "db"}, "k8s:tier": {"front"}, "io.cilium.k8s.policy.serviceaccount": {"web"}})
		out := ciliumv2.Rule{EndpointSelector: &subject}
		from := func() ciliumv2.IngressCommonRule {
			s := peers()
			return ciliumv2.IngressCommonRule{FromEndpoints: s.endpoints, FromCIDR: s.cidr, FromCIDRSet: s.sets, FromEntities: s.entities}
		}
		to := func() ciliumv2.EgressCommonRule {
			s := peers()
			return ciliumv2.EgressCommonRule{ToEndpoints: s.endpoints, ToCIDR: s.cidr, ToCIDRSet: s.sets, ToEntities: s.entities}
		}
		out.Ingress = some(r, 2, func() (e ciliumv2.IngressRule) {
			e.IngressCommonRule = from()
			e.ToPorts, e.ICMPs = ports()
			return e
		})
		out.IngressDeny = some(r, 1, func() (e ciliumv2.IngressDenyRule) {
			e.IngressCommonRule = from()
			e.ToPorts, e.ICMPs = denied()
			return e
		})
		out.Egress = some(r, 2, func() (e ciliumv2.EgressRule) {
			e.EgressCommonRule = to()
			e.ToPorts, e.ICMPs = ports()
			return e
		})
		out.EgressDeny = some(r, 1, func() (e ciliumv2.EgressDenyRule) {
			e.EgressCommonRule = to()
			e.ToPorts, e.ICMPs = denied()
			return e
		})
		yes, no := true, false
		out.EnableDefaultDeny = ciliumv2.DefaultDeny{Ingress: pick(r, nil, nil, &yes, &no), Egress: pick(r, nil, nil, &yes, &no)}
		return out
	}
	if r.IntN(3) > 0 {
		s := rule()
		o.Spec.Spec = &s
	}
	o.Spec.Specs = some(r, 1, rule)
	return o
}

func TestCiliumPolicyIsItsSpecification(t *testing.T) {
	allowed, all := 0, 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 11))
		c := specCilium{}
		var policies []*Policy
		for range 1 + r.IntN(3) {
			o := randomCilium(r, pick(r, "shop", "bank", ""))
			c.objects, policies = append(c.objects, o), append(policies, CiliumPolicy(o, DefaultCluster)...)
		}
		for _, p := range policies {
			for _, n := range p.Notes {
				if n.Refused && !strings.HasSuffix(n.Path, "rules.http") {
					t.Fatalf("seed %d: %+v", seed, n)
				}
			}
		}
		a, n := specCompare(policies, verdict.Network, c.allowed, func(d verdict.Direction, s, o *party, protocol uint8, port uint16, got bool) {
			text, _ := json.MarshalIndent(c.objects, "", " ")
			t.Fatalf("seed %d: %s of %s, %s, %d/%d: %t\n%s", seed, directionText[d], s.name, o.name, protocol, port, got, text)
		})
		allowed, all = allowed+a, all+n
	}
	if allowed < all/5 || allowed > all*9/10 {
		t.Errorf("%d of %d are allowed: the rules say too little", allowed, all)
	}
}
