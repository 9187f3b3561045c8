package integration_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/integration/grpcclient"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/push"
)

// grpcCalls makes n calls and counts who answered, by address, and failures under their code.
func grpcCalls(t *testing.T, c *grpcclient.Client, n int, headers ...string) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), mesh.Patience)
	defer cancel()
	out := map[string]int{}
	for range n {
		from, err := c.Call(ctx, headers...)
		if err != nil {
			from = status.Code(err).String()
		}
		out[from]++
	}
	return out
}

// grpcOnly waits until 20 calls in a row are answered by exactly these servers.
func grpcOnly(t *testing.T, c *grpcclient.Client, servers []netip.AddrPort, headers ...string) {
	t.Helper()
	var want []string
	for _, s := range servers {
		want = append(want, s.String())
	}
	slices.Sort(want)
	mesh.Eventually(t, func() error {
		got := grpcCalls(t, c, 20*len(servers), headers...)
		var names []string
		for name := range got {
			names = append(names, name)
		}
		if slices.Sort(names); !slices.Equal(names, want) {
			return fmt.Errorf("answers come from %v, want %v", got, want)
		}
		return nil
	})
}

// grpcShare waits until about a share of 1,000 calls is answered by one server. Five standard deviations are allowed.
func grpcShare(t *testing.T, c *grpcclient.Client, server netip.AddrPort, percent int) {
	t.Helper()
	mesh.Eventually(t, func() error {
		got := grpcCalls(t, c, 1000)
		if n := got[server.String()]; n < 10*percent-80 || n > 10*percent+80 {
			return fmt.Errorf("%d of 1000 calls answered by %s, want %d%%: %v", n, server, percent, got)
		}
		return nil
	})
}

func grpcServers(t *testing.T, n int) (out []netip.AddrPort) {
	for range n {
		out = append(out, mesh.NewGRPC(t))
	}
	return out
}

func grpcService(name, address string) mesh.Service {
	return mesh.Service{Name: name, ClusterIP: address, PortName: "grpc"}
}

func virtualService(name, http string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " + name + ", namespace: default}\n" +
		"spec:\n  hosts: [" + name + "]\n  http:\n" + http
}

func TestGRPCClientBalances(t *testing.T) {
	servers := grpcServers(t, 3)
	for name, s := range map[string]mesh.Service{"service": grpcService("echo", "10.96.0.1"), "headless": grpcService("echo", "None")} {
		t.Run(name, func(t *testing.T) {
			m := grpcclient.Start(t, s.YAML(servers...))
			c := m.Dial(t, "client", "default", "echo.default.svc.cluster.local:80")
			grpcOnly(t, c, servers)
			m.Apply("start", s.YAML(servers[:1]...))
			grpcOnly(t, c, servers[:1])
			m.Apply("start", s.YAML(servers[1:]...))
			grpcOnly(t, c, servers[1:])
			for _, short := range []string{"echo.default:80", "echo.default.svc:80"} {
				grpcOnly(t, m.Dial(t, "client", "default", short), servers[1:])
			}
		})
	}
}

func TestGRPCClientFollowsVirtualService(t *testing.T) {
	servers := grpcServers(t, 3)
	m := grpcclient.Start(t, grpcService("a", "10.96.0.1").YAML(servers[0])+grpcService("b", "10.96.0.2").YAML(servers[1])+
		grpcService("c", "10.96.0.3").YAML(servers[2]))
	c := m.Dial(t, "client", "default", "a.default.svc.cluster.local:80")
	other := m.Dial(t, "other", "team-b", "a.default.svc.cluster.local:80")
	grpcOnly(t, c, servers[:1])
	split := func(a, b int) string {
		return fmt.Sprintf("  - route:\n    - {destination: {host: a}, weight: %d}\n    - {destination: {host: b}, weight: %d}\n", a, b)
	}
	m.Apply("vs", virtualService("a", split(90, 10)))
	grpcShare(t, c, servers[1], 10)
	m.Apply("vs", virtualService("a", split(40, 60)))
	grpcShare(t, c, servers[1], 60)
	m.Apply("vs", virtualService("a", "  - match: [{headers: {x-user: {exact: ann}}}]\n    route: [{destination: {host: c}}]\n"+
		"  - match: [{uri: {prefix: /grpc.health.v1.Health/}, method: {exact: POST}, headers: {x-path: {regex: 'y.*'}}}]\n    route: [{destination: {host: b}}]\n"+
		"  - match: [{method: {exact: GET}}]\n    route: [{destination: {host: c}}]\n"+
		"  - route: [{destination: {host: a}}]\n"))
	grpcOnly(t, c, servers[2:], "x-user", "ann")
	grpcOnly(t, c, servers[1:2], "x-path", "yes")
	grpcOnly(t, c, servers[:1])
	m.Apply("vs", virtualService("a", "  - match: [{sourceNamespace: default}]\n    route: [{destination: {host: b}}]\n"+
		"  - match: [{sourceLabels: {app: any}}]\n    route: [{destination: {host: c}}]\n"+
		"  - route: [{destination: {host: a}}]\n"))
	grpcOnly(t, c, servers[1:2])
	grpcOnly(t, other, servers[:1])
	m.Apply("vs", virtualService("a", "  - fault: {abort: {grpcStatus: DATA_LOSS, percentage: {value: 100}}}\n    route: [{destination: {host: a}}]\n"))
	mesh.Eventually(t, func() error {
		if got := grpcCalls(t, c, 1); got[codes.DataLoss.String()] != 1 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
}

// TestGRPCClientWaitsForNothing routes to what does not exist, or cannot be used: those calls fail at once, and the rest
// of the routes is not held up (gRPC would wait 15 s for a resource that never comes).
func TestGRPCClientWaitsForNothing(t *testing.T) {
	servers := grpcServers(t, 1)
	m := grpcclient.Start(t, grpcService("a", "10.96.0.1").YAML(servers[0])+grpcService("empty", "10.96.0.2").YAML()+
		grpcService("secured", "10.96.0.3").YAML(servers[0])+
		"---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: secured, namespace: default}\n"+
		"spec: {host: secured, trafficPolicy: {tls: {mode: SIMPLE}}}\n")
	c := m.Dial(t, "client", "default", "a.default.svc.cluster.local:80")
	grpcOnly(t, c, servers)
	late := m.Dial(t, "client", "default", "late.default.svc.cluster.local:80")
	routes := ""
	for _, to := range []string{"nobody", "empty", "secured"} {
		routes += "  - match: [{headers: {to: {exact: " + to + "}}}]\n    route: [{destination: {host: " + to + "}}]\n"
	}
	m.Apply("vs", virtualService("a", routes+"  - match: [{headers: {to: {exact: a}}}]\n    route: [{destination: {host: a}}]\n"))
	mesh.Eventually(t, func() error {
		got := grpcCalls(t, c, 1, "to", "a")
		if got[servers[0].String()] != 1 || grpcCalls(t, c, 1)[codes.Unavailable.String()] != 1 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
	mesh.Eventually(t, func() error { // every cluster that it asks for is answered
		for _, ty := range m.Server.Push().Clients()[0].Types {
			if push.ShortType(ty.Type) == "Cluster" && (ty.Subscribed != 4 || ty.Resources != 4) {
				return fmt.Errorf("%d clusters of %d", ty.Resources, ty.Subscribed)
			}
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), mesh.Patience)
	defer cancel()
	for _, to := range []string{"nobody", "empty", "secured"} {
		if from, err := c.Call(ctx, "to", to); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %s, %v", to, from, err)
		}
	}
	m.Apply("late", grpcService("late", "10.96.0.9").YAML(servers...))
	grpcOnly(t, late, servers)
}

func TestGRPCClientOverRestart(t *testing.T) {
	servers := grpcServers(t, 2)
	s := grpcService("echo", "10.96.0.1")
	m := grpcclient.Start(t, s.YAML(servers[:1]...))
	c := m.Dial(t, "client", "default", "echo.default:80")
	grpcOnly(t, c, servers[:1])
	m.Stop()
	if got := grpcCalls(t, c, 50); got[servers[0].String()] != 50 {
		t.Fatalf("without a control plane: %v", got)
	}
	m.Apply("start", s.YAML(servers...))
	m.Serve()
	grpcOnly(t, c, servers)
}

// TestGRPCClientRefuses serves what gRPC refuses: the author is told by the client's own words, other services go on, and
// the last good endpoints stay.
func TestGRPCClientRefuses(t *testing.T) {
	servers := grpcServers(t, 1)
	entry := func(weight string) string {
		return strings.NewReplacer("W", weight, "PORT", strconv.Itoa(int(servers[0].Port()))).Replace("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: far, namespace: default}\n" +
			"spec:\n  hosts: [far.example.com]\n  resolution: STATIC\n  ports: [{number: 80, name: grpc, protocol: GRPC, targetPort: PORT}]\n" +
			"  endpoints: [{address: 127.0.0.1, weight: W}, {address: 127.0.0.2, weight: W}, {address: 127.0.0.3, weight: W}]\n")
	}
	m := grpcclient.Start(t, grpcService("a", "10.96.0.1").YAML(servers...))
	m.Apply("far", entry("1"))
	far := m.Dial(t, "client", "default", "far.example.com:80")
	mesh.Eventually(t, func() error {
		if got := grpcCalls(t, far, 10); got[servers[0].String()] == 0 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
	m.Apply("far", entry("2147483647")) // together more than 32 bits
	mesh.Eventually(t, func() error {
		for _, o := range m.Server.Status().Objects {
			if o.Kind == "ServiceEntry" && o.Programmed != nil && len(o.Programmed.Rejected) == 1 {
				r := o.Programmed.Rejected[0]
				if r.Node != "client" || !strings.Contains(r.Message, "sum of weights") {
					t.Fatalf("rejected with %+v", r)
				}
				return nil
			}
		}
		return fmt.Errorf("nobody is told; clients: %+v", m.Server.Push().Clients())
	})
	if got := grpcCalls(t, far, 10); got[servers[0].String()] == 0 {
		t.Errorf("the last good endpoints are gone: %v", got)
	}
	grpcOnly(t, m.Dial(t, "client", "default", "a.default:80"), servers)
	m.Apply("far", entry("2"))
	mesh.Eventually(t, func() error {
		for _, o := range m.Server.Status().Objects {
			if o.Kind == "ServiceEntry" && (o.Programmed == nil || len(o.Programmed.Rejected) > 0) {
				return fmt.Errorf("still told %+v", o.Programmed)
			}
		}
		return nil
	})
}
