package policy

import (
	"net/netip"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// What cannot be selected is denied, and never allowed: a rule that passes to others becomes one that denies.
func TestClosedByHiddenLabels(t *testing.T) {
	hidden := []Requirement{{Key: "pod-template-hash", Operator: In, Values: []string{"1"}}, {Key: "app", Operator: In, Values: []string{"a"}}}
	filter := verdict.Filter{Without: verdict.Generated()}
	rule := func(a verdict.Action, name string, labels []Requirement) Rule {
		return Rule{Action: a, Name: name, Tier: verdict.Admin, Peers: []Peer{{Pods: &Selector{Labels: labels}}, {Entity: verdict.World}}, Ports: everything()}
	}
	p := &Policy{Subjects: []Selector{{}}, Rules: []Rule{
		rule(verdict.Allow, "ingress[0] named", hidden), rule(verdict.Deny, "specs[1].ingress[1]", hidden), rule(verdict.Pass, "ingress[2]", hidden),
		rule(verdict.Pass, "ingress[3]", hidden[1:]),
	}}
	got := describe(closed(p, filter))
	for _, want := range []string{
		"ingress[0] named: egress, network admin 0, allow\n    world\n",
		"specs[1].ingress[1]: egress, network admin 0, deny\n    pods with app In a\n    world\n",
		"ingress[2]: egress, network admin 0, deny\n    pods with app In a\n    world\n",
		"ingress[3]: egress, network admin 0, pass\n    pods with app In a\n",
		"refused UnsupportedValue: spec.ingress[0]: ", "refused UnsupportedValue: specs[1].ingress[1]: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	p.Subjects = []Selector{{Labels: hidden}}
	got = describe(closed(p, filter))
	if strings.Contains(got, ", allow\n") || strings.Contains(got, ", pass\n") || !strings.Contains(got, "subject pods with app In a\n") {
		t.Errorf("a subject that is wider than was meant is allowed something:\n%s", got)
	}
}

// A Service may select by a label that does not count: to deny it is to deny all that it may be.
func TestClosedBehindService(t *testing.T) {
	g := newRig(t)
	client := &party{name: "shop/client", namespace: "shop", account: "client", labels: map[string]string{"app": "client"}, address: netip.MustParseAddr("10.0.0.1"), entities: verdict.All | verdict.Pods}
	db := &party{
		name: "shop/db-0", namespace: "shop", account: "db", address: netip.MustParseAddr("10.0.0.2"), entities: verdict.All | verdict.Pods,
		labels: map[string]string{"app": "db", "statefulset.kubernetes.io/pod-name": "db-0"},
	}
	g.inhabit([]*party{client, db})
	g.apply(&model.Service{Meta: model.Meta{Ref: model.Ref{Kind: "Service", Namespace: "shop", Name: "db-0"}}, Selector: db.labels},
		&ciliumObject{Meta: named("CiliumNetworkPolicy", "shop", 1), Spec: ciliumv2.Rules{Spec: &ciliumv2.Rule{
			EndpointSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "client"}},
			Egress:           []ciliumv2.EgressRule{{EgressCommonRule: ciliumv2.EgressCommonRule{ToEntities: []string{"all"}}}},
			EgressDeny: []ciliumv2.EgressDenyRule{{EgressCommonRule: ciliumv2.EgressCommonRule{
				ToServices: []ciliumv2.Service{{K8sService: &ciliumv2.K8sService{ServiceName: "db-0", Namespace: "shop"}}},
			}}},
		}}})
	set := g.set(t, g.identity("shop/client"))
	if got := set.Judge(verdict.Egress, verdict.Network, g.remote(db), TCP, 5432, g.memberOf); got.Allowed {
		t.Errorf("what is denied behind a Service is allowed: %+v in %+v", got, set)
	}
}
