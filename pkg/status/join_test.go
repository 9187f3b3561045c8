package status

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
)

const gatewayGroup = "gateway.networking.k8s.io"

func yes(kind string) model.Condition {
	return model.Condition{Type: kind, Status: true, Reason: kind, Message: "fine"}
}

func no(kind, reason, message string) model.Condition {
	return model.Condition{Type: kind, Reason: reason, Message: message}
}

func warning(message string) model.Condition {
	return model.Condition{Type: "Accepted", Status: true, Warning: true, Reason: "UnsupportedField", Message: message}
}

func plain(group string, list ...model.Condition) *model.ObjectStatus {
	return &model.ObjectStatus{Ref: model.Ref{Group: group, Kind: "VirtualService", Namespace: "shop", Name: "reviews"}, Generation: 3, Conditions: list}
}

// The states of a fleet of two.
var (
	acked    = barrier.Fate{Resources: 2, Clients: 2}
	behind   = barrier.Fate{Resources: 2, Clients: 2, Progress: barrier.Behind}
	joining  = barrier.Fate{Resources: 2, Clients: 2, Progress: barrier.Joining}
	nobody   = barrier.Fate{Resources: 2}
	nothing  = barrier.Fate{Clients: 2}
	rejected = barrier.Fate{Resources: 2, Clients: 2, Rejected: []barrier.Rejection{
		{Type: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", Resource: "svc/shop/reviews", Node: "a", Version: "1.40.0", Message: "bad regex"},
		{Type: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", Resource: "svc/shop/reviews", Node: "b", Version: "1.40.0", Message: "bad regex"},
	}}
)

// brief shows conditions as "Type=Status/Reason".
func brief(list []Condition) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Type+"="+string(c.Status)+"/"+c.Reason)
	}
	return strings.Join(out, " ")
}

func TestProgrammed(t *testing.T) {
	good, bad := yes("Accepted"), no("Accepted", "Invalid", "spec.http[0]: no")
	for _, c := range []struct {
		name     string
		accepted model.Condition
		fate     barrier.Fate
		want     string
		wait     Wait
	}{
		{"acknowledged by all", good, acked, "True/Programmed", Settled},
		{"nothing to send", good, nothing, "True/Programmed", Settled},
		{"a client has not acknowledged", good, behind, "Unknown/Pending", InFlight},
		{"a client has just connected", good, joining, "Unknown/Pending", Joining},
		{"no client", good, nobody, "Unknown/Pending", NoClients},
		{"a client rejects", good, rejected, "False/Rejected", Settled},
		{"not accepted", bad, acked, "False/Invalid", Settled},
		{"not accepted, in flight", bad, behind, "False/Invalid", Settled},
		{"not accepted, the rest is rejected", bad, rejected, "False/Rejected", Settled},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Join(plain("fairlead.io", c.accepted), c.fate)
			got := find(f.Conditions, "Programmed")
			if got == nil || string(got.Status)+"/"+got.Reason != c.want || f.Wait != c.wait {
				t.Errorf("got %+v, wait %d; want %s, %d", got, f.Wait, c.want, c.wait)
			}
		})
	}
}

// Envoy's words are there once, with what to do, and without what changes with each node.
func TestRejectionQuotesEnvoy(t *testing.T) {
	c := find(Join(plain("fairlead.io", yes("Accepted")), rejected).Conditions, "Programmed")
	for _, want := range []string{"RouteConfiguration svc/shop/reviews", "bad regex", "1.40.0", "proxy-status"} {
		if strings.Count(c.Message, want) != 1 {
			t.Errorf("%q is not there once: %s", want, c.Message)
		}
	}
	fewer := rejected
	fewer.Rejected = rejected.Rejected[1:]
	if other := find(Join(plain("fairlead.io", yes("Accepted")), fewer).Conditions, "Programmed"); other.Message != c.Message {
		t.Errorf("the message follows the nodes:\n%s\n%s", c.Message, other.Message)
	}
}

func TestMergeByType(t *testing.T) {
	for _, c := range []struct {
		name string
		list []model.Condition
		want []Condition
	}{
		{"the good one", []model.Condition{yes("Accepted")}, []Condition{{"Accepted", metav1.ConditionTrue, "Accepted", "fine"}}},
		{
			"all that is bad is told, the first gives the reason",
			[]model.Condition{yes("Accepted"), no("Accepted", "Conflict", "one"), no("Accepted", "Invalid", "two"), no("Accepted", "Invalid", "two")},
			[]Condition{{"Accepted", metav1.ConditionFalse, "Conflict", "one; two"}},
		},
		{
			"of negative polarity",
			[]model.Condition{no("Conflicted", "NoConflicts", "none"), {Type: "Conflicted", Status: true, Reason: "HostnameConflict", Message: "same"}},
			[]Condition{{"Conflicted", metav1.ConditionTrue, "HostnameConflict", "same"}},
		},
		{"a reason is required", []model.Condition{{Type: "Accepted", Status: true}}, []Condition{{"Accepted", metav1.ConditionTrue, "Accepted", ""}}},
	} {
		if diff := cmp.Diff(c.want, merge(c.list, maxMessage)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

// Which kind has which condition where.
func TestPlaces(t *testing.T) {
	parent := model.Ref{Group: gatewayGroup, Kind: "Gateway", Namespace: "edge", Name: "gw"}
	route := &model.ObjectStatus{
		Ref: model.Ref{Group: gatewayGroup, Kind: "HTTPRoute", Namespace: "shop", Name: "r"}, Conditions: []model.Condition{warning("spec.x: not obeyed")},
		Parents: []model.ParentStatus{
			{Parent: parent, Section: "http", Conditions: []model.Condition{yes("Accepted"), {Type: "PartiallyInvalid", Status: true, Reason: "UnsupportedValue"}, yes("ResolvedRefs")}},
			{Parent: parent, Section: "no", Conditions: []model.Condition{no("Accepted", "NoMatchingParent", "none"), yes("ResolvedRefs")}},
		},
	}
	f := Join(route, acked)
	if len(f.Conditions) != 0 || len(f.Parents) != 2 || f.Parents[0].Section != "http" {
		t.Fatalf("got %+v", f)
	}
	if got := brief(f.Parents[0].Conditions); got != "Accepted=True/Accepted PartiallyInvalid=True/UnsupportedValue ResolvedRefs=True/ResolvedRefs fairlead.io/Programmed=True/Programmed fairlead.io/Warnings=True/UnsupportedField" {
		t.Error(got)
	}
	if got := brief(f.Parents[1].Conditions); got != "Accepted=False/NoMatchingParent ResolvedRefs=True/ResolvedRefs fairlead.io/Programmed=False/Invalid fairlead.io/Warnings=True/UnsupportedField" {
		t.Error(got)
	}

	gw := &model.ObjectStatus{
		Ref: parent, Addresses: []string{"10.0.0.1"}, Conditions: []model.Condition{yes("Accepted")},
		Listeners: []model.ListenerStatus{
			{Name: "http", AttachedRoutes: 2, Conditions: []model.Condition{yes("Accepted"), no("Conflicted", "NoConflicts", "")}},
			{Name: "tls", Conditions: []model.Condition{yes("Accepted"), no("ResolvedRefs", "InvalidCertificateRef", "none"), no("Programmed", "Invalid", "no key")}},
		},
	}
	f = Join(gw, behind)
	if got := brief(f.Conditions); got != "Accepted=True/Accepted Programmed=Unknown/Pending" || f.Wait != InFlight {
		t.Error(got, f.Wait)
	}
	if got := brief(f.Listeners[0].Conditions); got != "Accepted=True/Accepted Conflicted=False/NoConflicts Programmed=Unknown/Pending" || f.Listeners[0].AttachedRoutes != 2 {
		t.Error(got)
	}
	if got := brief(f.Listeners[1].Conditions); got != "Accepted=True/Accepted ResolvedRefs=False/InvalidCertificateRef Programmed=False/Invalid" {
		t.Error(got)
	}

	class := &model.ObjectStatus{Ref: model.Ref{Group: gatewayGroup, Kind: "GatewayClass", Name: "fairlead"}, Conditions: []model.Condition{yes("Accepted")}}
	if got := Join(class, nobody); brief(got.Conditions) != "Accepted=True/Accepted" || got.Wait != Settled {
		t.Error(brief(got.Conditions), got.Wait)
	}
}

func TestNothingToWrite(t *testing.T) {
	for name, s := range map[string]*model.ObjectStatus{
		"a kind without a place":   {Ref: model.Ref{Kind: "Service", Namespace: "a", Name: "b"}, Conditions: []model.Condition{yes("Accepted")}},
		"a kind of other groups":   {Ref: model.Ref{Group: "example.com", Kind: "VirtualService", Name: "b"}, Conditions: []model.Condition{yes("Accepted")}},
		"a Gateway of nobody":      {Ref: model.Ref{Group: gatewayGroup, Kind: "Gateway", Name: "b"}, Conditions: []model.Condition{warning("no class")}},
		"a route without a parent": {Ref: model.Ref{Group: gatewayGroup, Kind: "HTTPRoute", Name: "b"}, Conditions: []model.Condition{warning("no parent")}},
	} {
		if f := Join(s, acked); f != nil {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	long := strings.Repeat("ü", 40000)
	f := Join(plain("fairlead.io", no("Accepted", "Invalid", long)), acked)
	if m := f.Conditions[0].Message; len(m) > 32768 || !utf8.ValidString(m) || !strings.HasSuffix(m, "(cut)") || len(m) < 32000 {
		t.Errorf("message of %d bytes ends in %q", len(m), m[max(0, len(m)-9):])
	}
	broken := rejected
	broken.Rejected = []barrier.Rejection{{Type: "a.Cluster", Resource: "x", Message: "\xff" + long}}
	if m := find(Join(plain("fairlead.io", yes("Accepted")), broken).Conditions, "Programmed").Message; !utf8.ValidString(m) || len(m) > 4096 {
		t.Errorf("message of %d bytes, valid %v", len(m), utf8.ValidString(m))
	}
	gw := &model.ObjectStatus{Ref: model.Ref{Group: gatewayGroup, Kind: "Gateway", Name: "b"}, Conditions: []model.Condition{yes("Accepted")}}
	for range 64 {
		gw.Listeners = append(gw.Listeners, model.ListenerStatus{Conditions: []model.Condition{no("Accepted", "Invalid", long), no("ResolvedRefs", "Invalid", long)}})
	}
	size := 0
	for _, l := range Join(gw, acked).Listeners {
		for _, c := range l.Conditions {
			size += len(c.Message)
		}
	}
	if size > 1<<20 {
		t.Errorf("messages of one object take %d bytes", size)
	}
}
