package show

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"fairlead.io/fairlead/api/observe/observer"
)

var answers = []string{
	`{"flow":{"time":"2026-01-01T00:30:00.5Z","verdict":"DROPPED","drop_reason_desc":"POLICY_DENIED","IP":{"source":"10.1.0.5","destination":"10.2.0.7"},
"l4":{"TCP":{"source_port":40000,"destination_port":5432,"flags":{"SYN":true}}},"source":{"namespace":"web","pod_name":"client-1"},"destination":{"namespace":"shop"},
"traffic_direction":"INGRESS","is_reply":false,"Summary":"TCP Flags: SYN","ingress_denied_by":[{"name":"db","namespace":"shop","kind":"NetworkPolicy"}]},"node_name":"node-a","time":"2026-01-01T00:30:00.5Z"}`,
	`{"flow":{"verdict":"FORWARDED","IP":{"source":"fd00::1","destination":"2001:db8::1"},"l4":{"UDP":{"source_port":53,"destination_port":4000}},
"source":{"labels":["reserved:world"]},"destination":{"namespace":"shop","pod_name":"db-0"},"traffic_direction":"EGRESS","is_reply":true,"Summary":"UDP\u001b[31m","policy_log":["NetworkPolicy shop/db egress[0]"]},"node_name":"node-b","time":"2026-01-01T00:30:01Z"}`,
	`{"flow":{"verdict":"FORWARDED","event_type":{"type":4},"trace_reason":"ESTABLISHED","IP":{"source":"10.1.0.5","destination":"10.0.0.1"},"l4":{"ICMPv4":{"type":8}},
"source":{"namespace":"web","pod_name":"client-1"},"destination":{"labels":["fairlead:identity=node/a","reserved:host"]},"traffic_direction":"EGRESS"},"node_name":"node-a","time":"2026-01-01T00:30:02Z"}`,
	`{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"7"},"node_name":"node-a","time":"2026-01-01T00:30:03Z"}`,
	`{"node_status":{"state_change":"NODE_UNAVAILABLE","node_names":["node-c","node-d"],"message":"no agent"}}`,
	`{"node_status":{"state_change":"NODE_CONNECTED","node_names":["node-a"]}}`,
}

func printed(t *testing.T, f Format) (out, notes string) {
	t.Helper()
	var o, n bytes.Buffer
	p := New(f, &o, &n, time.UTC)
	for _, a := range answers {
		m := &observer.GetFlowsResponse{}
		if err := protojson.Unmarshal([]byte(a), m); err != nil {
			t.Fatal(err)
		}
		if err := p.Print(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return o.String(), n.String()
}

const noted = "Jan  1 00:30:03.000: 7 events of node node-a were lost before they could be sent: they came faster than they were read\n" +
	"unavailable: node-c, node-d: no agent\n"

func TestTable(t *testing.T) {
	out, notes := printed(t, Table)
	want := `
TIME                 NODE    SOURCE              DESTINATION         DIRECTION  VERDICT                POLICY                           SUMMARY
Jan  1 00:30:00.500  node-a  web/client-1:40000  shop 10.2.0.7:5432  ingress    DROPPED POLICY_DENIED  NetworkPolicy shop/db            TCP Flags: SYN
Jan  1 00:30:01.000  node-b  world [fd00::1]:53  shop/db-0:4000      egress     FORWARDED              NetworkPolicy shop/db egress[0]  UDP?[31m
Jan  1 00:30:02.000  node-a  web/client-1        host 10.0.0.1       egress     FORWARDED (closed)     -                                -
`[1:]
	if out != want {
		t.Errorf("printed:\n%s\nwant:\n%s", out, want)
	}
	if notes != noted {
		t.Errorf("noted: %s", notes)
	}
}

func TestCompact(t *testing.T) {
	out, notes := printed(t, Compact)
	want := `
Jan  1 00:30:00.500: web/client-1:40000 -> shop 10.2.0.7:5432 ingress DROPPED POLICY_DENIED by NetworkPolicy shop/db (TCP Flags: SYN)
Jan  1 00:30:01.000: shop/db-0:4000 <- world [fd00::1]:53 egress FORWARDED by NetworkPolicy shop/db egress[0] (UDP?[31m)
Jan  1 00:30:02.000: web/client-1 -> host 10.0.0.1 egress FORWARDED (closed) ()
`[1:]
	if out != want {
		t.Errorf("printed:\n%s\nwant:\n%s", out, want)
	}
	if notes != noted {
		t.Errorf("noted: %s", notes)
	}
}

// TestJSON: a line an answer, in Hubble's spelling, that reads back as it was.
func TestJSON(t *testing.T) {
	out, notes := printed(t, JSON)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != len(answers) || notes != "" {
		t.Fatalf("%d lines, noted %q", len(lines), notes)
	}
	if !strings.HasPrefix(lines[0], `{"flow":{"time":"2026-01-01T00:30:00.500Z","verdict":"DROPPED",`) || !strings.Contains(lines[0], `"drop_reason_desc":"POLICY_DENIED"`) ||
		!strings.HasSuffix(lines[0], `},"node_name":"node-a","time":"2026-01-01T00:30:00.500Z"}`) {
		t.Error(lines[0])
	}
	if strings.Contains(out, "\x1b") {
		t.Error("a terminal's command is printed")
	}
}
