package agent

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

// sdsStream is one of Envoy's.
func (r *rig) sdsStream(t *testing.T, names ...string) (next func() *discovery.DeltaDiscoveryResponse) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+r.cfg.SDSSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	stream, err := secret.NewSecretDiscoveryServiceClient(conn).DeltaSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send := func(req *discovery.DeltaDiscoveryRequest) {
		t.Helper()
		req.TypeUrl = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	send(&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "envoy"}, ResourceNamesSubscribe: names})
	return func() *discovery.DeltaDiscoveryResponse {
		t.Helper()
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		send(&discovery.DeltaDiscoveryRequest{ResponseNonce: res.GetNonce()})
		return res
	}
}

// The control plane is away for longer than SVIDs live: they are taken from Envoy when they end, the agent goes on, says so, and
// begins anew with its token. The identity of a pod that is on another node is never asked for, whoever names it.
func TestServerAwayForLongerThanAnSVID(t *testing.T) {
	const mine, elsewhere = "spiffe://cluster.local/ns/shop/sa/sa-a", "spiffe://cluster.local/ns/shop/sa/elsewhere"
	r := newRig(t)
	r.server.Set("good", 3*time.Second, nil, false)
	r.server.Run(pods("a")...)
	r.start(t)
	r.valid(t, "sa-a")
	next := r.sdsStream(t, mine, elsewhere)
	if res := next(); len(res.GetResources()) != 1 || res.GetResources()[0].GetName() != mine {
		t.Fatalf("Envoy was sent %v", res)
	}
	r.server.Stop()
	for res := next(); ; res = next() { // renewals that were under way
		if slices.Contains(res.GetRemovedResources(), mine) {
			break
		}
	}
	s, err := r.status()
	if err != nil {
		t.Fatal(err)
	}
	if i := s.Identities[1]; i.State != keeper.Pending || i.Error == "" {
		t.Errorf("what has ended is %+v", i)
	}
	_, metrics := r.page(t, "/metrics")
	if got := lines(metrics, "fairlead_node_svids_lapsed_total "); len(got) != 1 || strings.HasSuffix(got[0], " 0") {
		t.Errorf("nobody is paged: %v", got)
	}
	if !strings.Contains(r.log.String(), "SVID has ended and was not renewed") {
		t.Error("nothing is in the log")
	}
	eventually(t, "the agent is not ready", func() error { // the node's own ended too
		if code, body := r.page(t, "/readyz"); code != 503 {
			return fmt.Errorf("readyz: %d %s", code, body)
		}
		return nil
	})
	before := len(r.server.Shown())
	r.server.Start()
	if res := next(); len(res.GetResources()) != 1 || res.GetResources()[0].GetName() != mine {
		t.Fatalf("Envoy was sent %v", res)
	}
	if shown := r.server.Shown()[before:]; !slices.Contains(shown, "sign token") {
		t.Errorf("credentials after the end of the node's SVID: %v", shown)
	}
	if n := r.server.Signed(elsewhere); n != 0 {
		t.Errorf("the identity of a pod of another node was asked for %d times", n)
	}
}

func TestMetricsFollowConventions(t *testing.T) {
	r := newRig(t)
	r.cfg.WorkloadSocket = filepath.Join(r.dir, "w")
	a, err := newAgent(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.link.Close()
	a.keeper.Update([]keeper.Pod{nodetest.Pod("a", "web")}, nil)
	problems, err := testutil.GatherAndLint(a.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// What was opened before the one that cannot be is closed.
func TestListenFails(t *testing.T) {
	r := newRig(t)
	r.cfg.Admin = "0.0.0.0:0"
	if err := Run(t.Context(), r.cfg); err == nil || !strings.Contains(err.Error(), "not on loopback") {
		t.Fatal(err)
	}
	if c, err := net.Dial("unix", r.cfg.SDSSocket); err == nil {
		_ = c.Close()
		t.Error("the SDS socket is open still")
	}
}
