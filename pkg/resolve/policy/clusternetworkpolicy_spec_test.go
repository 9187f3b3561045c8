package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

type clusterObject = model.Object[policyv1alpha2.ClusterNetworkPolicySpec]

var (
	podKeys       = map[string][]string{"app": {"web", "db", "cart"}, "tier": {"front", "back"}}
	namespaceKeys = map[string][]string{"team": {"red", "blue"}, nameLabel: {"shop", "bank", "ops"}}
)

func randomNamespaced(r *rand.Rand) *policyv1alpha2.NamespacedPod {
	return &policyv1alpha2.NamespacedPod{NamespaceSelector: randomLabels(r, namespaceKeys), PodSelector: randomLabels(r, podKeys)}
}

func randomClusterPolicy(r *rand.Rand, n int) *clusterObject {
	o := &clusterObject{Meta: model.Meta{Ref: model.Ref{Kind: "ClusterNetworkPolicy", Name: fmt.Sprint(n)}}}
	o.Spec.Tier, o.Spec.Priority = pick(r, policyv1alpha2.AdminTier, policyv1alpha2.BaselineTier), int32(n)
	if r.IntN(2) == 0 {
		s := pick(r, metav1.LabelSelector{}, randomLabels(r, namespaceKeys))
		o.Spec.Subject.Namespaces = &s
	} else {
		o.Spec.Subject.Pods = randomNamespaced(r)
	}
	actions := []policyv1alpha2.ClusterNetworkPolicyRuleAction{"Accept", "Deny", "Deny", "Pass"}
	protocols := func(named bool) []policyv1alpha2.ClusterNetworkPolicyProtocol {
		return some(r, 2, func() (p policyv1alpha2.ClusterNetworkPolicyProtocol) {
			port := &policyv1alpha2.Port{Number: pick[int32](r, 80, 443, 8080)}
			if r.IntN(3) == 0 {
				port = &policyv1alpha2.Port{Range: &policyv1alpha2.PortRange{Start: 80, End: pick[int32](r, 443, 2000)}}
			}
			switch r.IntN(4) {
			case 0:
				p.TCP = &policyv1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}
			case 1:
				p.UDP = &policyv1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: port}
			case 2:
				p.SCTP = &policyv1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: port}
			default:
				p.DestinationNamedPort = pick(r, "http", "dns")
				if !named {
					p = policyv1alpha2.ClusterNetworkPolicyProtocol{TCP: &policyv1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}}
				}
			}
			return p
		})
	}
	for range 1 + r.IntN(3) {
		rule := policyv1alpha2.ClusterNetworkPolicyIngressRule{Action: pick(r, actions...), Protocols: protocols(true)}
		for range 1 + r.IntN(2) {
			rule.From = append(rule.From, policyv1alpha2.ClusterNetworkPolicyIngressPeer{Pods: randomNamespaced(r)})
		}
		o.Spec.Ingress = append(o.Spec.Ingress, rule)
	}
	for range 1 + r.IntN(3) {
		rule := policyv1alpha2.ClusterNetworkPolicyEgressRule{Action: pick(r, actions...)}
		named := true
		for range 1 + r.IntN(2) {
			var p policyv1alpha2.ClusterNetworkPolicyEgressPeer
			switch s := randomLabels(r, namespaceKeys); r.IntN(4) {
			case 0:
				p.Namespaces = &s
			case 1:
				p.Pods = randomNamespaced(r)
			case 2:
				nodes := randomLabels(r, map[string][]string{"pool": {"a", "b"}})
				p.Nodes, named = &nodes, false
			default:
				p.Networks, named = []policyv1alpha2.CIDR{pick[policyv1alpha2.CIDR](r, "10.1.0.0/24", "192.168.0.2/31", "0.0.0.0/0", "::/0")}, false
			}
			rule.To = append(rule.To, p)
		}
		rule.Protocols = protocols(named)
		o.Spec.Egress = append(o.Spec.Egress, rule)
	}
	return o
}

// specCluster evaluates ClusterNetworkPolicies as their API's comments tell it.
func specCluster(objects []*clusterObject, d verdict.Direction, subject, other *party, protocol uint8, port uint16) bool {
	pods := func(s *policyv1alpha2.NamespacedPod, p *party) bool {
		return p.pod() && specLabels(&s.NamespaceSelector, in(specNamespaces[p.namespace])) && specLabels(&s.PodSelector, in(p.labels))
	}
	destination := other
	if d == verdict.Ingress {
		destination = subject
	}
	ports := func(list []policyv1alpha2.ClusterNetworkPolicyProtocol) bool {
		matches := func(n uint8, p *policyv1alpha2.Port) bool {
			if p.Range != nil {
				return n == protocol && p.Range.Start <= int32(port) && int32(port) <= p.Range.End
			}
			return n == protocol && p.Number == int32(port)
		}
		return len(list) == 0 || slices.ContainsFunc(list, func(p policyv1alpha2.ClusterNetworkPolicyProtocol) bool {
			switch {
			case p.TCP != nil:
				return matches(TCP, p.TCP.DestinationPort)
			case p.UDP != nil:
				return matches(UDP, p.UDP.DestinationPort)
			case p.SCTP != nil:
				return matches(SCTP, p.SCTP.DestinationPort)
			}
			return slices.Contains(destination.ports, verdict.NamedPort{Name: p.DestinationNamedPort, Protocol: protocol, Port: port})
		})
	}
	for _, tier := range []policyv1alpha2.Tier{"Admin", "Baseline"} {
		for _, o := range objects { // in the order of priority
			if s := &o.Spec.Subject; o.Spec.Tier != tier || s.Namespaces != nil && !specLabels(s.Namespaces, in(specNamespaces[subject.namespace])) ||
				s.Pods != nil && !pods(s.Pods, subject) {
				continue
			}
			var actions []policyv1alpha2.ClusterNetworkPolicyRuleAction
			for _, r := range o.Spec.Ingress {
				if d == verdict.Ingress && ports(r.Protocols) && slices.ContainsFunc(r.From, func(p policyv1alpha2.ClusterNetworkPolicyIngressPeer) bool { return pods(p.Pods, other) }) {
					actions = append(actions, r.Action)
				}
			}
			for _, r := range o.Spec.Egress {
				if d == verdict.Egress && ports(r.Protocols) && slices.ContainsFunc(r.To, func(p policyv1alpha2.ClusterNetworkPolicyEgressPeer) bool {
					switch {
					case p.Namespaces != nil:
						return other.pod() && specLabels(p.Namespaces, in(specNamespaces[other.namespace]))
					case p.Pods != nil:
						return pods(p.Pods, other)
					case p.Nodes != nil:
						return other.name[:5] == "node/" && specLabels(p.Nodes, in(other.labels))
					}
					return netip.MustParsePrefix(string(p.Networks[0])).Masked().Contains(other.address)
				}) {
					actions = append(actions, r.Action)
				}
			}
			if len(actions) > 0 && actions[0] != "Pass" {
				return actions[0] == "Accept"
			}
			if len(actions) > 0 {
				break // to the next tier
			}
		}
	}
	return true
}

func TestClusterNetworkPolicyIsItsSpecification(t *testing.T) {
	allowed, all := 0, 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 7))
		var objects []*clusterObject
		var policies []*Policy
		for n := range 2 + r.IntN(5) {
			o := randomClusterPolicy(r, n)
			p := ClusterNetworkPolicy(o)
			if len(p.Notes) > 0 {
				t.Fatalf("seed %d: %+v", seed, p.Notes)
			}
			objects, policies = append(objects, o), append(policies, p)
		}
		a, n := specCompare(policies, verdict.Network, func(d verdict.Direction, s, o *party, protocol uint8, port uint16) bool {
			return specCluster(objects, d, s, o, protocol, port)
		}, func(d verdict.Direction, s, o *party, protocol uint8, port uint16, got bool) {
			text, _ := json.MarshalIndent(objects, "", " ")
			t.Fatalf("seed %d: %s of %s, %s, %d/%d: %t\n%s", seed, directionText[d], s.name, o.name, protocol, port, got, text)
		})
		allowed, all = allowed+a, all+n
	}
	if allowed < all/4 || allowed > all*19/20 {
		t.Errorf("%d of %d are allowed: the rules say too little", allowed, all)
	}
}
