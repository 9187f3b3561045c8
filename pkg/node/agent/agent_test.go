package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/node/control"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
	"fairlead.io/fairlead/pkg/snapshot"
)

func pods(uids ...string) (out []keeper.Pod) {
	for _, uid := range uids {
		out = append(out, nodetest.Pod(uid, "sa-"+uid))
	}
	return out
}

// The token is shown once: from then on the node's SVID speaks.
func TestBootstrap(t *testing.T) {
	r := newRig(t)
	r.server.Run(pods("a", "b")...)
	r.start(t)
	s := r.valid(t, "sa-a", "sa-b")
	want := []string{"sign token", "stream " + nodetest.NodeID.String(), "sign " + nodetest.NodeID.String()}
	if got := r.server.Shown(); !slices.Equal(got, want) {
		t.Errorf("credentials %v, want %v", got, want)
	}
	if s.Control.Server != r.server.Address || !s.Control.Connected || s.Signing == "" || s.Identities[0].ID != nodetest.NodeID.String() {
		t.Errorf("status %+v", s)
	}
	if code, body := r.page(t, "/readyz"); code != 200 {
		t.Errorf("readyz: %d %s", code, body)
	}
	_, metrics := r.page(t, "/metrics")
	for _, line := range []string{`fairlead_node_svids{state="valid"} 3`, "fairlead_node_connected 1", `fairlead_node_svid_renewals_total{outcome="issued"} 3`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
	r.server.Run(pods("c")...)
	r.server.Finish("a")
	r.valid(t, "sa-b", "sa-c")
	for _, word := range []string{"PRIVATE", "good"} {
		if strings.Contains(r.log.String(), word) {
			t.Errorf("%q is in the log", word)
		}
	}
}

// Nothing is told to a server that is not verified, and nothing starts without trust.
func TestNoTrustOnFirstUse(t *testing.T) {
	other := nodetest.NewAuthority(t)
	for name, change := range map[string]func(t *testing.T, r *rig){
		"another hash": func(_ *testing.T, r *rig) { r.cfg.TrustHash = "sha256:" + strings.Repeat("ab", 32) },
		"another bundle": func(t *testing.T, r *rig) {
			r.cfg.TrustHash, r.cfg.TrustBundle = "", bundle(t, other, filepath.Join(r.dir, "b"))
		},
		"another server": func(_ *testing.T, r *rig) { r.cfg.ServerID = nodetest.NodeID },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			change(t, r)
			r.start(t)
			eventually(t, "the reason", func() error {
				s, err := r.status()
				if err == nil && !strings.Contains(s.NotReady, "verify server") {
					err = fmt.Errorf("not ready: %q", s.NotReady)
				}
				return err
			})
			if got := r.server.Shown(); len(got) > 0 {
				t.Errorf("a server that was not verified was shown %v", got)
			}
			if code, _ := r.page(t, "/readyz"); code != 503 {
				t.Errorf("readyz says %d", code)
			}
		})
	}
	r := newRig(t)
	r.cfg.TrustHash = ""
	if err := Run(t.Context(), r.cfg); !errors.Is(err, control.ErrNoTrust) {
		t.Errorf("without bundle and hash: %v", err)
	}
}

func TestBundleFile(t *testing.T) {
	r := newRig(t)
	r.cfg.TrustHash = ""
	other := nodetest.NewAuthority(t)
	r.cfg.TrustBundle = bundle(t, other, filepath.Join(r.dir, "b"))
	r.start(t)
	eventually(t, "the reason", func() error {
		s, err := r.status()
		if err == nil && !strings.Contains(s.NotReady, "verify server") {
			err = fmt.Errorf("not ready: %q", s.NotReady)
		}
		return err
	})
	bundle(t, r.server.CA, r.cfg.TrustBundle) // an operator mends it
	r.valid(t)
}

// The token is read anew, and helps when the node's SVID is not taken.
func TestTokenAgain(t *testing.T) {
	r := newRig(t)
	r.start(t)
	r.valid(t)
	r.server.Set("second", time.Hour, nil, true)
	r.writeToken(t, "second")
	r.server.Run(pods("a")...)
	r.valid(t, "sa-a")
	shown := r.server.Shown()
	if !slices.Contains(shown, "sign refused certificate") || shown[len(shown)-1] != "sign token" && shown[len(shown)-1] != "stream token" {
		t.Errorf("credentials %v", shown)
	}
}

// A server that restarts is found again; what has changed meanwhile is taken over, what has not is not asked for again.
func TestServerRestarts(t *testing.T) {
	r := newRig(t)
	r.server.Run(pods("a", "b")...)
	r.start(t)
	r.valid(t, "sa-a", "sa-b")
	r.server.Stop()
	eventually(t, "the loss is seen", func() error {
		if s, err := r.status(); err != nil || s.Control.Connected || s.Control.Error == "" {
			return fmt.Errorf("%+v, %v", s, err)
		}
		return nil
	})
	r.valid(t, "sa-a", "sa-b")
	if code, body := r.page(t, "/readyz"); code != 200 {
		t.Errorf("readyz without a server: %d %s", code, body)
	}
	r.server.Finish("a")
	r.server.Run(pods("c")...)
	r.server.Start()
	r.valid(t, "sa-b", "sa-c")
	if n := r.server.Signed("spiffe://cluster.local/ns/shop/sa/sa-b"); n != 1 {
		t.Errorf("the SVID of a pod that had not changed was signed %d times", n)
	}
}

// The next address is tried when one does not answer.
func TestNextServer(t *testing.T) {
	r := newRig(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	r.cfg.Servers = slices.Repeat([]string{dead.Addr().String()}, 12)
	r.cfg.Servers = append(r.cfg.Servers, r.server.Address)
	r.server.Run(pods("a")...)
	r.start(t)
	r.valid(t, "sa-a")
}

func TestOverloadedServerIsAskedAgain(t *testing.T) {
	r := newRig(t)
	r.server.Set("good", time.Hour, status.Error(codes.ResourceExhausted, "too many"), false)
	r.server.Run(pods("a")...)
	r.start(t)
	eventually(t, "the reason", func() error {
		s, err := r.status()
		if err == nil && !strings.Contains(s.NotReady, "too many") {
			err = fmt.Errorf("not ready: %q", s.NotReady)
		}
		return err
	})
	r.server.Set("good", time.Hour, nil, false)
	r.valid(t, "sa-a")
}

// Renewal goes on by the node's SVID, through a rotation of the authority, and the stream follows to the newest credential.
func TestShortLives(t *testing.T) {
	r := newRig(t)
	r.server.Set("good", 3*time.Second, nil, false)
	r.server.Run(pods("a")...)
	r.start(t)
	s := r.valid(t, "sa-a")
	first := s.Identities[1].Serial
	next := r.server.CA.Trust()
	r.server.PublishTrust()
	eventually(t, "the bundle is acknowledged", func() error { return r.acknowledged(nodetest.Domain.Name()) })
	r.server.CA.Sign(next)
	r.server.PublishTrust()
	eventually(t, "both are of the new authority", func() error {
		s, err := r.status()
		if err != nil {
			return err
		}
		for _, i := range s.Identities {
			if i.Authority != next || i.Serial == first {
				return fmt.Errorf("%+v", i)
			}
		}
		return nil
	})
	r.server.Set("nobody's", 3*time.Second, nil, false)
	began := r.server.Signed(nodetest.NodeID.String())
	eventually(t, "renewals without the token", func() error {
		if n := r.server.Signed(nodetest.NodeID.String()); n < began+3 {
			return fmt.Errorf("%d", n-began)
		}
		return nil
	})
	streams := 0
	for _, c := range r.server.Shown() {
		if strings.HasPrefix(c, "stream ") {
			streams++
		}
	}
	if streams < 2 {
		t.Errorf("the stream still shows the node's first SVID: %v", r.server.Shown())
	}
}

func (r *rig) acknowledged(name string) error {
	if st := r.server.Status().For(model.Ref{Kind: "Test", Name: name}); !st.Programmed() {
		return fmt.Errorf("%+v", st)
	}
	return nil
}

// What cannot be read is refused with a reason; the rest counts.
func TestNACK(t *testing.T) {
	r := newRig(t)
	r.server.Run(pods("a")...)
	r.start(t)
	r.valid(t, "sa-a")
	elsewhere := &nodev1.Workload{Uid: "x", Namespace: "shop", Name: "x", ServiceAccount: "x", Node: "node-b", SpiffeId: "spiffe://cluster.local/ns/shop/sa/x"}
	broken := &nodev1.TrustBundle{TrustDomain: "other.test", X509Authorities: [][]byte{[]byte("no certificate")}}
	empty := &nodev1.TrustBundle{TrustDomain: nodetest.Domain.Name(), Local: true}
	for name, c := range map[string]struct {
		res  *snapshot.Resource
		want string
	}{
		"a workload of another node":    {r.server.Encode("x", elsewhere), `runs on node "node-b"`},
		"a bundle without certificates": {r.server.Encode("other.test", broken), "other.test"},
		"nothing to verify with":        {r.server.Encode(nodetest.Domain.Name(), empty), "no roots"},
	} {
		r.server.Put([]*snapshot.Resource{c.res})
		eventually(t, name, func() error {
			st := r.server.Status().For(model.Ref{Kind: "Test", Name: c.res.Name})
			if len(st.Rejected) == 0 || !strings.Contains(st.Rejected[0].Message, c.want) {
				return fmt.Errorf("%+v, want %q", st, c.want)
			}
			return nil
		})
	}
	r.server.Run(pods("b")...)
	r.valid(t, "sa-a", "sa-b")
}

// A bundle is acknowledged when Envoy has it, and refused with Envoy's name when Envoy does not take it in time.
func TestBundleIsAcknowledgedByEnvoyFirst(t *testing.T) {
	r := newRig(t)
	r.cfg.Patience = 2 * time.Second
	r.start(t)
	r.valid(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	conn, err := grpc.NewClient("unix:"+r.cfg.SDSSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	envoy, err := secret.NewSecretDiscoveryServiceClient(conn).DeltaSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send := func(req *discovery.DeltaDiscoveryRequest) {
		t.Helper()
		req.TypeUrl = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
		if err := envoy.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	send(&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "envoy-a"}, ResourceNamesSubscribe: []string{"fairlead/bundles", "bundle/cluster.local"}})
	first, err := envoy.Recv()
	if err != nil || len(first.GetResources()) != 2 {
		t.Fatalf("%v, %v", first, err)
	}
	send(&discovery.DeltaDiscoveryRequest{ResponseNonce: first.GetNonce()})
	r.server.CA.Trust()
	r.server.PublishTrust()
	second, err := envoy.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if st := r.server.Status().For(model.Ref{Kind: "Test", Name: nodetest.Domain.Name()}); st.Behind != 1 {
		t.Fatalf("acknowledged before Envoy did: %+v", st)
	}
	send(&discovery.DeltaDiscoveryRequest{ResponseNonce: second.GetNonce()})
	eventually(t, "acknowledged", func() error { return r.acknowledged(nodetest.Domain.Name()) })
	r.server.CA.Trust()
	r.server.PublishTrust()
	third, err := envoy.Recv()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "who is behind is named", func() error {
		st := r.server.Status().For(model.Ref{Kind: "Test", Name: nodetest.Domain.Name()})
		if len(st.Rejected) == 0 || !strings.Contains(st.Rejected[0].Message, "envoy-a") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	send(&discovery.DeltaDiscoveryRequest{ResponseNonce: third.GetNonce()})
	eventually(t, "acknowledged late", func() error { return r.acknowledged(nodetest.Domain.Name()) })
}

func TestSockets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "s")
	l, err := listenSDS(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want %o", p, info.Mode(), err, mode)
		}
	}
	go func(l net.Listener) {
		if c, err := l.Accept(); err == nil {
			_ = c.Close()
		}
	}(l)
	if _, err := listenSDS(path, -1); err == nil || !strings.Contains(err.Error(), "answers") {
		t.Errorf("a socket that is in use was taken: %v", err)
	}
	_ = l.Close()
	if l, err = listenSDS(path, os.Getgid()); err != nil {
		t.Fatalf("a socket that was left: %v", err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("with a group: %v, %v", info.Mode(), err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSDS(file, -1); err == nil {
		t.Error("a file was replaced by a socket")
	}
	if _, err := listenAdmin("0.0.0.0:0"); err == nil {
		t.Error("the admin interface listens everywhere")
	}
}
