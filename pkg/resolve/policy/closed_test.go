package policy

import (
	"strings"
	"testing"

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
