// Package observe runs the real command line of Hubble against what serves our flows.
package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/integration/process"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/flows"
	"fairlead.io/fairlead/pkg/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hubbleVersion is that of hack/tools/versions.sh.
const hubbleVersion = "v1.20.2"

const (
	clientID = "cluster.local/ns/web/sa/client/00ff"
	dbID     = "cluster.local/ns/shop/sa/db/11ff"
)

// cluster has a client in web and a database in shop, which a policy isolates.
type cluster struct{}

func (cluster) Identity(n uint32) (name, workload string, labels map[string]string) {
	switch n {
	case 1:
		return clientID, "Deployment/client", map[string]string{"app": "client"}
	case 2:
		return dbID, "", map[string]string{"app": "db", "app.kubernetes.io/name": "db"}
	}
	return "", "", nil
}

func (cluster) Pod(a netip.Addr) (namespace, name, node string) {
	p := map[string][2]string{"10.1.0.5": {"web", "client-1"}, "fd00::5": {"web", "client-1"}, "10.2.0.7": {"shop", "db-0"}}[a.String()]
	return p[0], p[1], "node-a"
}

func (cluster) Rule(set, rule uint32) (verdict.Rule, bool) {
	return verdict.Rule{Origin: verdict.Origin{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Rule: fmt.Sprintf("ingress[%d]", rule)}}, set == 9
}

func (cluster) Isolating(uint32, verdict.Direction, verdict.Family) []verdict.Origin {
	return []verdict.Origin{{Kind: "NetworkPolicy", Namespace: "shop", Name: "db"}}
}

// now is the kernel's clock.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

func syn() datapath.Event {
	e := datapath.Event{
		Since: now(), Kind: datapath.FlowDenied, Hook: datapath.ToPod, Source: netip.MustParseAddr("10.1.0.5"), Destination: netip.MustParseAddr("10.2.0.7"),
		SourceIdentity: 1, DestinationIdentity: 2, Protocol: 6, SourcePort: 40000, DestinationPort: 5432, TCPFlags: 2,
		Direction: verdict.Ingress, Reason: datapath.PolicyDenied, Interface: 7,
	}
	e.Said[verdict.Ingress] = datapath.Said{Judged: true, Because: datapath.Isolation}
	return e
}

func allowed() datapath.Event {
	e := syn()
	e.Kind, e.Reason, e.SourcePort = datapath.FlowNew, 0, 40001
	e.Said[verdict.Ingress] = datapath.Said{Judged: true, Allowed: true, Because: datapath.ByRule, Set: 9, Rule: 1}
	return e
}

func ping() datapath.Event {
	e := allowed()
	e.Source, e.Destination, e.DestinationIdentity = netip.MustParseAddr("fd00::5"), netip.MustParseAddr("2001:db8::1"), 0
	e.Protocol, e.DestinationPort, e.Hook = 58, 128<<8, datapath.Forward
	e.Said = [2]datapath.Said{{Judged: true, Allowed: true, Because: datapath.NoPolicy}}
	return e
}

// node is an agent's observer on a Unix socket.
type node struct {
	*flows.Observer
	socket string // unix:///path
}

func startNode(t *testing.T) *node {
	t.Helper()
	o, err := flows.New(flows.Config{Node: "node-a", Names: cluster{}, Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "fl") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "observe.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s, ended := grpc.NewServer(), make(chan error, 1)
	o.Register(s)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &node{o, "unix://" + path}
}

func (n *node) record(events ...datapath.Event) {
	for i := range events {
		n.Record(&events[i])
	}
}

// hubble runs Hubble's command line against a node and gives what it prints.
func (n *node) hubble(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := hubble(t, ctx, append([]string{"--server", n.socket}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("hubble %s: %v: %s", strings.Join(args, " "), err, &errs)
	}
	return out.String()
}

func hubble(t *testing.T, ctx context.Context, args ...string) *exec.Cmd { //nolint:revive // as want has it
	t.Helper()
	path, err := process.Find("hubble-"+hubbleVersion, "hubble")
	if err != nil {
		t.Fatalf("%v: run hack/tools/install.sh hubble", err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	return cmd
}

// sourcePort is how a test tells flows apart; 1 is the ping, which has none.
func sourcePorts(t *testing.T, lines string) (out []int) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var m struct {
			Flow struct {
				L4 struct {
					TCP    *struct{ Source_port int }
					ICMPv6 *struct{ Type int }
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch {
		case m.Flow.L4.TCP != nil:
			out = append(out, m.Flow.L4.TCP.Source_port)
		case m.Flow.L4.ICMPv6 != nil:
			out = append(out, 1)
		}
	}
	return out
}
