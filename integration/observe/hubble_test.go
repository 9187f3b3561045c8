package observe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/observe/filter"
)

// TestDenied: the real client tells who was denied by what, as it tells of Cilium.
func TestDenied(t *testing.T) {
	n := startNode(t)
	n.record(allowed(), syn(), ping())
	lines := n.hubble(t, "observe", "--verdict", "DROPPED", "-o", "json")
	var got struct {
		Flow struct {
			Verdict, Type, Summary string
			Drop_reason_desc       string
			L4                     struct {
				TCP struct{ Flags map[string]bool }
			}
			Source, Destination struct {
				Identity            uint32
				Namespace, Pod_name string
				Labels              []string
			}
			Ingress_denied_by []struct{ Name, Namespace, Kind string }
		}
		Node_name string
	}
	if err := json.Unmarshal([]byte(lines), &got); err != nil {
		t.Fatalf("%s: %v", lines, err)
	}
	f := got.Flow
	if f.Verdict != "DROPPED" || f.Type != "L3_L4" || f.Drop_reason_desc != "POLICY_DENIED" || f.Summary != "TCP Flags: SYN" || !f.L4.TCP.Flags["SYN"] || len(f.L4.TCP.Flags) != 1 {
		t.Errorf("%s", lines)
	}
	if f.Source.Pod_name != "client-1" || f.Source.Namespace != "web" || f.Source.Identity != filter.Identity(clientID) || !slices.Contains(f.Source.Labels, "k8s:app=client") {
		t.Errorf("source: %+v", f.Source)
	}
	if f.Destination.Pod_name != "db-0" || f.Destination.Identity != filter.Identity(dbID) || !slices.Contains(f.Destination.Labels, "k8s:app.kubernetes.io/name=db") {
		t.Errorf("destination: %+v", f.Destination)
	}
	if len(f.Ingress_denied_by) != 1 || fmt.Sprint(f.Ingress_denied_by[0]) != "{db shop NetworkPolicy}" || got.Node_name != "node-a" {
		t.Errorf("denied by %v on %s", f.Ingress_denied_by, got.Node_name)
	}
	text := n.hubble(t, "observe", "--print-policy-names", "-o", "compact")
	for _, want := range []string{
		"web/client-1:40000 (ID:" + strconv.Itoa(int(filter.Identity(clientID))) + ") -> shop/db-0:5432 (ID:", "Policy denied DROPPED (TCP Flags: SYN)",
		"policy-verdict:L3-L4 INGRESS ALLOWED BY db (NetworkPolicy) (TCP Flags: SYN)", "2001:db8::1 (world) policy-verdict:all EGRESS ALLOWED (ICMPv6 EchoRequest)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("without %q:\n%s", want, text)
		}
	}
}

// TestFilters has each filter of the real client, as it writes them, choose among three flows.
func TestFilters(t *testing.T) {
	const denied, let, echo = 40000, 40001, 1
	n := startNode(t)
	n.record(allowed(), syn(), ping())
	for _, c := range []struct {
		args string
		want []int
	}{
		{"", []int{let, denied, echo}},
		{"--last 1", []int{echo}},
		{"--first 2", []int{let, denied}},
		{"--all --not --verdict DROPPED", []int{let, echo}},
		{"--since 1h", []int{let, denied, echo}},
		{"--until 1h", nil},
		{"--namespace shop", []int{let, denied}},
		{"--from-namespace web --to-namespace shop", []int{let, denied}},
		{"--pod web/client", []int{let, denied, echo}},
		{"--to-pod shop/db-0", []int{let, denied}},
		{"--pod db-0", nil}, // of the namespace default
		{"--label app=db", []int{let, denied}},
		{"--from-label k8s:app=client", []int{let, denied, echo}},
		{"--to-label app.kubernetes.io/name", []int{let, denied}},
		{"--label reserved:world", []int{echo}},
		{"--identity world", []int{echo}},
		{"--to-identity " + strconv.Itoa(int(filter.Identity(dbID))), []int{let, denied}},
		{"--verdict FORWARDED", []int{let, echo}},
		{"--drop-reason-desc POLICY_DENIED", []int{denied}},
		{"--port 5432", []int{let, denied}},
		{"--from-port 40000", []int{denied}},
		{"--protocol tcp", []int{let, denied}},
		{"--protocol icmp", []int{echo}},
		{"--tcp-flags SYN", []int{let, denied}},
		{"--tcp-flags ACK", nil},
		{"--ip 10.2.0.7", []int{let, denied}},
		{"--from-ip fd00::/8", []int{echo}},
		{"-6", []int{echo}},
		{"--traffic-direction egress", []int{echo}},
		{"--type drop", []int{denied}},
		{"--type policy-verdict", []int{let, echo}},
		{"--workload Deployment/client", []int{let, denied, echo}},
		{"--node-name node-a", []int{let, denied, echo}},
		{"--node-name node-b", nil},
		{"--reply", nil},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"observe", "-o", "json"}, strings.Fields(c.args)...)
			if got := sourcePorts(t, n.hubble(t, args...)); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// TestRefused: a filter that cannot be kept is an error that names it.
func TestRefused(t *testing.T) {
	n := startNode(t)
	out, err := hubble(t, t.Context(), "--server", n.socket, "observe", "--http-method", "GET").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "http_method") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestStatus runs the commands that are not about flows.
func TestStatus(t *testing.T) {
	n := startNode(t)
	n.record(allowed(), syn())
	for args, want := range map[string]string{
		"status":                   "Current/Max Flows: 2/4,096",
		"list nodes":               "node-a",
		"list namespaces":          "shop",
		"status -o json":           `"seen_flows":"2"`,
		"list nodes -o json":       `"version": "fairlead 1.0.0"`,
		"observe --last 5 -o dict": "DESTINATION: shop/db-0:5432",
	} {
		if got := n.hubble(t, strings.Fields(args)...); !strings.Contains(got, want) {
			t.Errorf("%s: without %q: %s", args, want, got)
		}
	}
}

// TestFollow: the real client is told what comes.
func TestFollow(t *testing.T) {
	n := startNode(t)
	n.record(allowed())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := hubble(t, ctx, "--server", n.socket, "observe", "--follow", "--last", "1", "-o", "json")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	for i, want := range []int{40001, 40000, 1} {
		if !lines.Scan() {
			t.Fatalf("it ended: %v", lines.Err())
		}
		if got := sourcePorts(t, lines.Text()); len(got) != 1 || got[0] != want {
			t.Errorf("%d: %s", i, lines.Text())
		}
		switch i { // what follows comes when it has begun to follow
		case 0:
			n.record(syn())
		case 1:
			n.record(ping())
		}
	}
	cancel()
	_ = cmd.Wait() // it was killed
}
