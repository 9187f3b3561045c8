package translate_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

// The size that figures are promised for: 10,000 pods, 5,000 policies, in 100 namespaces.
const (
	verdictPods       = 10_000
	verdictPolicies   = 5_000
	verdictNamespaces = 100
)

// verdictPod is pod i. Pods of a namespace are of 25 apps, and, where replicas is 1, each is an identity of its own.
func verdictPod(i, replicas, version int) *model.Pod {
	ns := fmt.Sprintf("ns-%d", i%verdictNamespaces)
	k := i / verdictNamespaces
	group := k / replicas
	p := &model.Pod{
		Meta: meta("", "Pod", ns, fmt.Sprintf("pod-%d", k), version), Node: fmt.Sprintf("node-%d", i%50), ServiceAccount: "default",
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
		Ports:     []model.ContainerPort{{Name: "http", Protocol: "TCP", Number: 8080}},
	}
	p.Labels = map[string]string{"app": fmt.Sprintf("app-%d", group%25), "copy": fmt.Sprint(group), "tier": fmt.Sprintf("tier-%d", group%3), "pod-template-hash": fmt.Sprint(k)}
	return p
}

// verdictPolicy is policy i: one app of its namespace is reached by another, by one of another team, and from a network.
func verdictPolicy(i, version int) *resolve.NetworkPolicy {
	k := i / verdictNamespaces
	selector := func(key, value string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	}
	number, name := intstr.FromInt32(int32(1000+version%100)), intstr.FromString("http")
	p := &resolve.NetworkPolicy{Meta: meta(model.NetworkingGroup, "NetworkPolicy", fmt.Sprintf("ns-%d", i%verdictNamespaces), fmt.Sprintf("policy-%d", k), version)}
	p.Spec.PodSelector = *selector("app", fmt.Sprintf("app-%d", k%25))
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{
		{
			From: []networkingv1.NetworkPolicyPeer{
				{PodSelector: selector("app", fmt.Sprintf("app-%d", (k+1)%25))},
				{NamespaceSelector: selector("team", fmt.Sprintf("team-%d", k%10)), PodSelector: selector("app", fmt.Sprintf("app-%d", (k+2)%25))},
			},
			Ports: []networkingv1.NetworkPolicyPort{{Port: &number}, {Port: &name}},
		},
		{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("192.168.%d.0/24", k%250)}}}},
	}
	return p
}

func verdictWorld(replicas int) []any {
	var out []any
	for i := range verdictNamespaces {
		ns := &model.Namespace{Meta: meta("", "Namespace", "", fmt.Sprintf("ns-%d", i), 1)}
		ns.Labels = map[string]string{"team": fmt.Sprintf("team-%d", i%10), "kubernetes.io/metadata.name": ns.Name}
		out = append(out, ns)
	}
	for i := range verdictPods {
		out = append(out, verdictPod(i, replicas, 1))
	}
	for i := range verdictPolicies {
		out = append(out, verdictPolicy(i, 1))
	}
	return out
}

// BenchmarkVerdicts is one change in the world of 10,000 pods and 5,000 policies, to published, encoded bytes.
func BenchmarkVerdicts(b *testing.B) {
	for _, replicas := range []int{1, 4} {
		m := newMesh(b)
		m.apply(verdictWorld(replicas)...)
		name := fmt.Sprintf("identities=%d/", verdictPods/replicas)
		version := 1
		run := func(what string, limit int, change func(i, version int) []any) {
			b.Run(name+what, func(b *testing.B) {
				b.ReportAllocs()
				total, i := 0, 0
				for b.Loop() {
					version++
					i++
					seq := m.out.Source().Latest().Seq()
					m.apply(change(i, version)...)
					changes, ok := m.out.Source().Latest().ChangesSince(seq)
					if !ok || len(changes) == 0 || len(changes) > limit {
						b.Fatalf("%d changes: %v", len(changes), changes)
					}
					total += len(changes)
				}
				b.ReportMetric(float64(total)/float64(i), "resources/op")
			})
		}
		known := verdictPod(7, replicas, 1)
		run("pod/known", 2, func(i, version int) []any { // of an identity that is known: its Peer and its Workload
			p := *known
			p.Meta.Name, p.UID, p.ResourceVersion = "another", "another", fmt.Sprint(version)
			p.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)})}
			return []any{&p}
		})
		run("pod/new", 25, func(_, version int) []any { // and its VerdictSet, and the PeerSets that it enters; the pod before it goes
			p := *known
			p.Meta.Name, p.UID, p.ResourceVersion = "new", fmt.Sprintf("new-%d", version), fmt.Sprint(version)
			p.Labels = map[string]string{"app": "app-1", "copy": "x" + fmt.Sprint(version), "tier": "tier-1"}
			return []any{&p}
		})
		run("policy", verdictPods/verdictNamespaces/25+20, func(i, version int) []any { return []any{verdictPolicy(1234, version)} })
	}
}

// BenchmarkVerdictRebuild is everything from nothing.
func BenchmarkVerdictRebuild(b *testing.B) {
	world := verdictWorld(4)
	for b.Loop() {
		m := newMesh(b)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m.apply(world...)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		n := 0
		m.out.Source().Latest().Range(translate.VerdictSetType, func(*snapshot.Resource) bool { n++; return true })
		if n != verdictPods/4 {
			b.Fatalf("%d verdict sets", n)
		}
	}
}
