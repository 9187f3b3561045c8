package policy

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

type networkObject = model.Object[networkingv1.NetworkPolicySpec]

func randomNetworkPolicy(r *rand.Rand, n int) *networkObject {
	o := &networkObject{Meta: named("NetworkPolicy", pick(r, "shop", "bank", "ops"), n)}
	o.Spec.PodSelector = pick(r, metav1.LabelSelector{}, randomLabels(r, podKeys))
	o.Spec.PolicyTypes = pick(r, nil, []networkingv1.PolicyType{}, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Egress"}, []networkingv1.PolicyType{"Egress", "Ingress"})
	peer := func() networkingv1.NetworkPolicyPeer {
		pods, namespaces := randomLabels(r, podKeys), randomLabels(r, namespaceKeys)
		switch r.IntN(4) {
		case 0:
			return networkingv1.NetworkPolicyPeer{PodSelector: &pods}
		case 1:
			return networkingv1.NetworkPolicyPeer{NamespaceSelector: &namespaces}
		case 2:
			return networkingv1.NetworkPolicyPeer{PodSelector: &pods, NamespaceSelector: &namespaces}
		}
		b := &networkingv1.IPBlock{CIDR: pick(r, "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/64", "10.1.0.1/32", "192.168.0.3/31")}
		if b.CIDR == "10.0.0.0/8" || b.CIDR == "0.0.0.0/0" {
			b.Except = pick(r, nil, []string{"10.1.0.0/30"}, []string{"10.1.0.1/32", "10.2.0.0/16"})
		}
		return networkingv1.NetworkPolicyPeer{IPBlock: b}
	}
	port := func() networkingv1.NetworkPolicyPort {
		p := networkingv1.NetworkPolicyPort{}
		if protocol := pick(r, "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP); protocol != "" {
			p.Protocol = &protocol
		}
		number, name := intstr.FromInt32(pick[int32](r, 53, 80, 443, 8080)), intstr.FromString(pick(r, "http", "dns", "nobody"))
		switch r.IntN(4) {
		case 0:
		case 1:
			p.Port = &name
		case 2:
			end := pick[int32](r, 8080, 9000)
			p.Port, p.EndPort = &number, &end
		default:
			p.Port = &number
		}
		return p
	}
	for range r.IntN(3) {
		o.Spec.Ingress = append(o.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: some(r, 2, peer), Ports: some(r, 2, port)})
	}
	for range r.IntN(3) {
		o.Spec.Egress = append(o.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: some(r, 2, peer), Ports: some(r, 2, port)})
	}
	return o
}

// networkAllows evaluates NetworkPolicies as the API reference of NetworkPolicySpec tells it.
func networkAllows(objects []*networkObject, d verdict.Direction, subject, other *party, protocol uint8, port uint16) bool {
	isolated := false
	for _, o := range objects {
		types := o.Spec.PolicyTypes
		if len(types) == 0 { // "default to the existence of ingress or egress rules", Ingress always
			types = []networkingv1.PolicyType{"Ingress"}
			if len(o.Spec.Egress) > 0 {
				types = append(types, "Egress")
			}
		}
		mine := networkingv1.PolicyType("Egress")
		if d == verdict.Ingress {
			mine = "Ingress"
		}
		if o.Namespace != subject.namespace || !specLabels(&o.Spec.PodSelector, in(subject.labels)) || !slices.Contains(types, mine) {
			continue
		}
		isolated = true
		for _, r := range o.Spec.Ingress {
			if d == verdict.Ingress && networkPeers(o.Namespace, r.From, other) && networkPorts(r.Ports, subject, protocol, port) {
				return true
			}
		}
		for _, r := range o.Spec.Egress {
			// Addresses have no ports by name; what has them is selected as a pod.
			numbered := slices.DeleteFunc(slices.Clone(r.Ports), func(p networkingv1.NetworkPolicyPort) bool { return p.Port != nil && p.Port.Type == intstr.String })
			pods := slices.DeleteFunc(slices.Clone(r.To), func(p networkingv1.NetworkPolicyPeer) bool { return p.IPBlock != nil })
			if len(r.To) > 0 && len(numbered) < len(r.Ports) {
				if d == verdict.Egress && (len(numbered) > 0 && networkPeers(o.Namespace, r.To, other) && networkPorts(numbered, other, protocol, port) ||
					len(pods) > 0 && networkPeers(o.Namespace, pods, other) && networkPorts(r.Ports, other, protocol, port)) {
					return true
				}
				continue
			}
			if d == verdict.Egress && networkPeers(o.Namespace, r.To, other) && networkPorts(r.Ports, other, protocol, port) {
				return true
			}
		}
	}
	// "traffic to and from the node where a pod is running is always allowed"
	return !isolated || other.entities&verdict.Host != 0
}

func networkPeers(namespace string, peers []networkingv1.NetworkPolicyPeer, other *party) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		if b := p.IPBlock; b != nil {
			return netip.MustParsePrefix(b.CIDR).Masked().Contains(other.address) && !slices.ContainsFunc(b.Except, func(x string) bool {
				return netip.MustParsePrefix(x).Contains(other.address)
			})
		}
		if !other.pod() {
			return false
		}
		if p.NamespaceSelector == nil && other.namespace != namespace {
			return false
		}
		return (p.NamespaceSelector == nil || specLabels(p.NamespaceSelector, in(specNamespaces[other.namespace]))) &&
			(p.PodSelector == nil || specLabels(p.PodSelector, in(other.labels)))
	})
}

func networkPorts(ports []networkingv1.NetworkPolicyPort, destination *party, protocol uint8, port uint16) bool {
	numbers := map[corev1.Protocol]uint8{"TCP": 6, "UDP": 17, "SCTP": 132}
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		name := corev1.ProtocolTCP
		if p.Protocol != nil {
			name = *p.Protocol
		}
		switch {
		case numbers[name] != protocol:
			return false
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			return destination.pod() && slices.Contains(destination.ports, verdict.NamedPort{Name: p.Port.StrVal, Protocol: protocol, Port: port})
		case p.EndPort != nil:
			return p.Port.IntVal <= int32(port) && int32(port) <= *p.EndPort
		}
		return p.Port.IntVal == int32(port)
	})
}

// TestNetworkPolicyIsItsSpecification judges by what reaches a node.
func TestNetworkPolicyIsItsSpecification(t *testing.T) {
	allowed, all := 0, 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		parties := specParties()
		g := newRig(t)
		g.inhabit(parties)
		var objects []*networkObject
		for n := range 1 + r.IntN(5) {
			o := randomNetworkPolicy(r, n)
			for _, note := range NetworkPolicy(o).Notes {
				if note.Refused {
					t.Fatalf("seed %d: %+v", seed, note)
				}
			}
			objects = append(objects, o)
			g.apply(o)
		}
		a, n := g.judged(t, parties, verdict.Network, func(d verdict.Direction, s, o *party, protocol uint8, port uint16) bool {
			return networkAllows(objects, d, s, o, protocol, port)
		}, func(d verdict.Direction, s, o *party, protocol uint8, port uint16, got verdict.Decision) {
			text, _ := json.MarshalIndent(objects, "", " ")
			t.Fatalf("seed %d: %s of %s, %s, %d/%d: %+v\n%s", seed, directionText[d], s.name, o.name, protocol, port, got, text)
		})
		allowed, all = allowed+a, all+n
	}
	if allowed < all/4 || allowed > all*19/20 {
		t.Errorf("%d of %d are allowed: the rules say too little or too much", allowed, all)
	}
}
