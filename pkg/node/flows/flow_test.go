package flows

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

func jsonOf(t *testing.T, m *observer.GetFlowsResponse) string {
	t.Helper()
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`"uuid":"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`).ReplaceAllString(out.String(), `"uuid":"U"`)
}

// TestDenied is what everybody looks for: a SYN that no policy allows.
func TestDenied(t *testing.T) {
	r := newRig(t, 0)
	r.record(syn(30 * time.Minute))
	want := strings.ReplaceAll(`{"flow":{"time":"2026-01-01T00:30:00Z","uuid":"U","emitter":{"name":"Fairlead","version":"1.2.3"},"verdict":"DROPPED","drop_reason":133,
"IP":{"source":"10.1.0.5","destination":"10.2.0.7","ipVersion":"IPv4"},
"l4":{"TCP":{"source_port":40000,"destination_port":5432,"flags":{"SYN":true}}},
"source":{"identity":CLIENT,"namespace":"web","labels":["fairlead:identity=cluster.local/ns/web/sa/client/00ff","k8s:a.b/c=d","k8s:app=client","k8s:io.kubernetes.pod.namespace=web"],"pod_name":"client-1","workloads":[{"name":"client","kind":"Deployment"}]},
"destination":{"identity":DB,"namespace":"shop","labels":["fairlead:identity=cluster.local/ns/shop/sa/db/11ff","k8s:app=db","k8s:io.kubernetes.pod.namespace=shop"],"pod_name":"db-0","workloads":[{"name":"db","kind":"StatefulSet"}]},
"Type":"L3_L4","node_name":"node-a","event_type":{"type":1,"sub_type":133},"traffic_direction":"INGRESS","drop_reason_desc":"POLICY_DENIED","is_reply":false,"interface":{"index":7},
"Summary":"TCP Flags: SYN",
"ingress_denied_by":[{"name":"db","namespace":"shop","kind":"NetworkPolicy"},{"name":"all","namespace":"shop","kind":"NetworkPolicy"}],
"policy_log":["NetworkPolicy shop/all","NetworkPolicy shop/db"]},
"node_name":"node-a","time":"2026-01-01T00:30:00Z"}`, "\n", "")
	want = strings.NewReplacer("CLIENT", "3962862566", "DB", "3631693193").Replace(want)
	got := r.get(&observer.GetFlowsRequest{})
	if len(got) != 1 {
		t.Fatalf("%d answers", len(got))
	}
	// Two encodings are compared field by field: protojson has an order of its own.
	var a, b any
	if err := json.Unmarshal([]byte(want), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(jsonOf(t, got[0])), &b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
}

// TestEvents has one event differ from a denied or an allowed one, and looks for what that changes.
func TestEvents(t *testing.T) {
	for name, c := range map[string]struct {
		from        datapath.Event
		change      func(*datapath.Event)
		has, hasNot string
	}{
		"a rule allows": {allowed(0, 1), nil, `"verdict":"FORWARDED" "event_type":{"type":5} "policy_match_type":2 "traffic_direction":"INGRESS"
			"ingress_allowed_by":[{"name":"db","namespace":"shop","kind":"NetworkPolicy"}] ["NetworkPolicyshop/dbingress[1]"]`, "denied_by egress_allowed_by drop_reason"},
		"nothing is said": {allowed(0, 1), func(e *datapath.Event) { e.Said[verdict.Ingress] = datapath.Said{} }, `"FORWARDED" "EGRESS" "policy_match_type":4`, "_by policy_log"},
		"closed": {
			allowed(0, 1), func(e *datapath.Event) { e.Kind, e.TCPFlags = datapath.FlowClosed, 0x11 },
			`"event_type":{"type":4} TO_ENDPOINT ESTABLISHED "TCPFlags:FIN,ACK" "FORWARDED"`, "policy_match_type",
		},
		"audited": {syn(0), func(e *datapath.Event) {
			e.Kind, e.Reason = datapath.FlowAudited, 0
			e.Said[verdict.Ingress].Family = verdict.Network
		}, `"AUDIT" "event_type":{"type":5} ingress_denied_by`, "drop_reason policy_match_type"},
		"a rule of the cluster denies at the source": {syn(0), func(e *datapath.Event) {
			e.Direction, e.Reason, e.Said = verdict.Egress, datapath.PolicyDeny, [2]datapath.Said{{Judged: true, Because: datapath.ByRule, Set: 8}, {}}
		}, `"EGRESS" "POLICY_DENY" "egress_denied_by":[{"name":"guard","kind":"ClusterNetworkPolicy"}] "sub_type":181`, "ingress"},
		"a rule that is not known any more": {allowed(0, 1), func(e *datapath.Event) { e.Said[verdict.Ingress].Set = 77 }, `"FORWARDED"`, "_by policy_log"},
		"a spoofed address": {syn(0), func(e *datapath.Event) {
			e.Reason, e.Direction, e.Said = datapath.InvalidSourceIP, verdict.Egress, [2]datapath.Said{}
		}, `"INVALID_SOURCE_IP" "drop_reason":132 "EGRESS"`, "_by"},
		"a reply that is denied": {syn(0), func(e *datapath.Event) {
			e.Source, e.Destination, e.SourceIdentity, e.DestinationIdentity, e.Reply = e.Destination, e.Source, 2, 1, true
		}, `"is_reply":true "reply":true "ingress_denied_by":[{"name":"db" "INGRESS"`, ""},
		"udp":    {allowed(0, 1), func(e *datapath.Event) { e.Protocol = protoUDP }, `"l4":{"UDP":{"source_port":1,"destination_port":5432}} "Summary":"UDP"`, "TCP"},
		"sctp":   {allowed(0, 1), func(e *datapath.Event) { e.Protocol = protoSCTP }, `"l4":{"SCTP":{"source_port":1,"destination_port":5432}} "SCTP"`, "TCP"},
		"icmp":   {allowed(0, 1), func(e *datapath.Event) { e.Protocol, e.DestinationPort = protoICMP, 3<<8|4 }, `"l4":{"ICMPv4":{"type":3,"code":4}} "ICMPv4DestinationUnreachable(4)"`, "TCP"},
		"icmpv6": {allowed(0, 1), func(e *datapath.Event) { e.Protocol, e.DestinationPort = protoICMPv6, 128<<8 }, `"l4":{"ICMPv6":{"type":128}} "ICMPv6EchoRequest"`, "TCP"},
		"gre":    {allowed(0, 1), func(e *datapath.Event) { e.Protocol = 47 }, `"IPprotocol47"`, "TCP"},
		"ipv6": {allowed(0, 1), func(e *datapath.Event) {
			e.Source, e.Destination, e.SourceIdentity = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fd00::7"), 0
		}, `"IPv6" "source":"2001:db8::1" "source":{"identity":2,"labels":["reserved:world"]} db-0`, "client"},
		"an address that another pod has now": {
			syn(0), func(e *datapath.Event) { e.Source = netip.MustParseAddr("10.2.0.7") },
			`"namespace":"web" cluster.local/ns/web/sa/client/00ff`, "client-1",
		},
		"an identity without an address": {syn(0), func(e *datapath.Event) { e.Source = netip.MustParseAddr("10.9.9.9") }, `"namespace":"web"`, "client-1 world"},
		"this node":                      {allowed(0, 1), func(e *datapath.Event) { e.Source, e.SourceIdentity = netip.MustParseAddr("10.0.0.1"), 3 }, `"identity":1, reserved:host node/node-a`, "remote"},
		"another node":                   {allowed(0, 1), func(e *datapath.Event) { e.Source, e.SourceIdentity = netip.MustParseAddr("10.0.0.2"), 4 }, `"identity":6, reserved:remote-node node/node-b`, "reserved:host"},
		"the API server outside":         {allowed(0, 1), func(e *datapath.Event) { e.Source, e.SourceIdentity = netip.MustParseAddr("10.0.0.9"), 5 }, `"identity":7, reserved:kube-apiserver`, "remote"},
		"the host by a bridge": {allowed(0, 1), func(e *datapath.Event) {
			e.Source, e.SourceIdentity, e.Hook = netip.MustParseAddr("10.1.0.1"), 0, datapath.LocalOut
		}, `"identity":1, reserved:host`, "world"},
		"to the host by a bridge": {allowed(0, 1), func(e *datapath.Event) {
			e.Destination, e.DestinationIdentity, e.Hook = netip.MustParseAddr("10.1.0.1"), 0, datapath.LocalIn
		}, `"destination":{"identity":1, reserved:host`, "world"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 0)
			if c.change != nil {
				c.change(&c.from)
			}
			r.record(c.from)
			got := strings.ReplaceAll(jsonOf(t, r.get(&observer.GetFlowsRequest{})[0]), " ", "")
			for _, w := range strings.Fields(c.has) {
				if !strings.Contains(got, w) {
					t.Errorf("without %s: %s", w, got)
				}
			}
			for _, w := range strings.Fields(c.hasNot) {
				if strings.Contains(got, w) {
					t.Errorf("with %s: %s", w, got)
				}
			}
		})
	}
}
