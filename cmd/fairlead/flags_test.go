package main

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

func TestServeNamesEveryWrongFlag(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "--source is missing: use --source=files:DIR or --source=kube"},
		{"--source=etcd", "--source=etcd: use --source=files:DIR"},
		{"--source=files:/no/such/folder", "there is no such folder"},
		{"--source=files:. --kubeconfig x", "belong to --source=kube"},
		{"--source=kube --kubeconfig /no/such/file", "name a file with --kubeconfig"},
		{"--source=kube --compat=linkerd", "only istio and cilium are known"},
		{"--source=files:. --xds-address 0.0.0.0:15010", "--xds-address: address \"0.0.0.0:15010\" is not a loopback IP"},
		{"--source=files:. --admin 10.0.0.1:1", "--admin: address"},
		{"--source=files:. --outbound 0.0.0.0:1", "is not a loopback address"},
		{"--source=files:. --outbound 127.0.0.1:1,namespaces=a", "none of namespace, service-account and labels"},
		{"--source=files:. --outbound 127.0.0.1:1,labels=app", "label \"app\" is not key=value"},
		{"--source=files:. --service-cidr 10.0.0.1", "is not a range"},
		{"--source=files:. --peers 10.0.0.1:15010", "--peers: address \"10.0.0.1:15010\" is not a loopback IP"},
		{"--source=files:. --grace 0s", "--grace=0s: use a duration above 0"},
		{"--source=files:. --log-level loud", "use debug, info, warn or error"},
		{"--source=files:. --log-format xml", "use text or json"},
	} {
		code, _, errs := fairlead(t, "", append([]string{"serve"}, strings.Fields(test.args)...)...)
		if code != 1 || !strings.Contains(errs, test.want) {
			t.Errorf("serve %s: code %d, %q; want %q", test.args, code, errs, test.want)
		}
	}
	// All at once, not one a try.
	_, _, errs := fairlead(t, "", "serve", "--xds-address", "0.0.0.0:1", "--admin", "0.0.0.0:1")
	for _, want := range []string{"--source", "--xds-address", "--admin"} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q does not name %s", errs, want)
		}
	}
}

func TestOutboundFlag(t *testing.T) {
	got, err := parseStub("127.0.0.1:15001,namespace=shop,service-account=web,labels=app=web;version=v1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Address != netip.MustParseAddrPort("127.0.0.1:15001") || got.Namespace != "shop" || got.ServiceAccount != "web" ||
		got.Labels["app"] != "web" || got.Labels["version"] != "v1" {
		t.Errorf("got %+v", got)
	}
	var f meshFlags
	f.add(&cobra.Command{})
	cfg, err := f.config(true)
	if err != nil || len(cfg.Stubs) != 1 || cfg.Stubs[0].Address.String() != "127.0.0.1:15001" || !cfg.HostTable {
		t.Errorf("a folder has no way into the mesh: %+v, %v", cfg.Stubs, err)
	}
	if cfg, err = f.config(false); err != nil || len(cfg.Stubs) != 0 || cfg.HostTable {
		t.Errorf("a cluster opens %+v, %v", cfg.Stubs, err)
	}
}

// Every command has an example that begins with its own words.
func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" || c.Hidden {
			return
		}
		if !strings.Contains(c.Example, "fairlead "+c.Name()) && !strings.Contains(c.Example, c.CommandPath()) && c.HasParent() {
			t.Errorf("%s has no example of its own: %q", c.CommandPath(), c.Example)
		}
		if c.Short == "" {
			t.Errorf("%s says nothing", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(environment{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }}))
}

func TestClientsWithoutAServerSayWhatToDo(t *testing.T) {
	for _, args := range []string{
		"proxy-status --server unix:/no/such/socket", "proxy-config routes node-a --server unix:/no/such/socket",
		"version --server unix:/no/such/socket",
	} {
		code, _, errs := fairlead(t, "", strings.Fields(args)...)
		if code != 1 || !strings.Contains(errs, "start `fairlead serve`, or name its --admin address with --server") {
			t.Errorf("%s: code %d, %q", args, code, errs)
		}
	}
	if code, _, errs := fairlead(t, "", "proxy-status", "--server", "example.com:1"); code != 1 || !strings.Contains(errs, "--server: address") {
		t.Errorf("a far server: code %d, %q", code, errs)
	}
}

func TestDemoWithoutEnvoySaysHowToGetOne(t *testing.T) {
	var out, errs bytes.Buffer
	env := environment{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(string) string { return "" }}
	t.Setenv("PATH", "")
	if code := execute(t.Context(), env, []string{"demo"}); code != 1 || !strings.Contains(errs.String(), "needs an Envoy") {
		t.Errorf("code %d, %q", code, errs.String())
	}
}

func TestClientTable(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	list := []push.ClientInfo{{
		Node: snapshot.Node{ID: "node-a"}, Version: "1.40.0", Connected: now.Add(-90 * time.Second),
		Types: []push.TypeInfo{
			{Type: "type.googleapis.com/envoy.config.cluster.v3.Cluster", Resources: 3},
			{Type: "type.googleapis.com/envoy.config.listener.v3.Listener", Resources: 2, Nacks: 1, Quarantined: 1, LastNack: "bad\nlistener"},
			{Type: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", InFlight: true},
			{Type: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", Pending: 4},
		},
	}}
	var b strings.Builder
	if err := clientTable(&b, list, []barrier.Absent{{Node: "node-z", Since: now.Add(-time.Minute), Reason: "not connected"}}, now); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(`
NODE    ENVOY   AGE    TYPE                STATE     RESOURCES  PENDING  NACKS
node-a  1.40.0  1m30s  Cluster             SYNCED    3          0        0
                       Listener            REJECTED  2          0        1
                       RouteConfiguration  SENT      0          0        0
                       Secret              STALE     0          4        0

rejected:
  node-a Listener: bad listener

ABSENT  SINCE  WHY
node-z  1m0s   not connected
`, "\n")
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
