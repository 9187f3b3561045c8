package sds_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
	"fairlead.io/fairlead/pkg/node/sds"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

var (
	web    = spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/web")
	client = spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/client")
)

const patience = 20 * time.Second

// state is a Keeper whose state a test sets.
type state struct {
	mu      sync.Mutex
	now     content
	log     []spiffeid.ID // of changes
	changed chan struct{}
}

type content struct {
	Node    *node.SVID
	SVIDs   map[spiffeid.ID]*node.SVID
	Bundles *node.Bundles
}

func newState() *state {
	return &state{now: content{SVIDs: map[spiffeid.ID]*node.SVID{}}, changed: make(chan struct{})}
}

func (s *state) Changes(since uint64) (keeper.Changes, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := keeper.Changes{Seq: uint64(len(s.log)) + 1, All: since == 0, Node: s.now.Node, Bundles: s.now.Bundles, SVIDs: map[spiffeid.ID]*node.SVID{}}
	if c.All {
		maps.Copy(c.SVIDs, s.now.SVIDs)
	} else {
		for _, id := range s.log[since-1:] {
			c.SVIDs[id] = s.now.SVIDs[id]
		}
	}
	return c, s.changed
}

func (s *state) Bundles() (*node.Bundles, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Bundles == nil {
		return nil, s.changed, node.ErrPending
	}
	return s.now.Bundles, s.changed, nil
}

// set changes what is not an SVID.
func (s *state) set(fn func(*content)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&s.now)
	close(s.changed)
	s.changed = make(chan struct{})
}

// give has these SVIDs served.
func (s *state) give(list ...*node.SVID) {
	s.set(func(k *content) {
		for _, svid := range list {
			k.SVIDs[svid.ID] = svid
			s.log = append(s.log, svid.ID)
		}
	})
}

// take takes an identity away.
func (s *state) take(id spiffeid.ID) {
	s.set(func(k *content) {
		delete(k.SVIDs, id)
		s.log = append(s.log, id)
	})
}

func svid(t testing.TB, a *nodetest.Authority, id spiffeid.ID) *node.SVID {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x, err := a.Issue(id, key.Public(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &node.SVID{ID: id, Chain: x.Chain, Key: key, Authority: x.Authority}
}

// served is an SDS server on a socket.
type served struct {
	*sds.Server
	stop func()
}

// serve runs an SDS server of a state until the end of the test, or stop.
func serve(t testing.TB, s *state, path string) *served {
	t.Helper()
	out := &served{Server: sds.New(sds.Config{Keeper: s})}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(push.ServerOptions()...)
	out.Register(g)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- out.Run(ctx) }()
	go func() { done <- g.Serve(l) }()
	out.stop = sync.OnceFunc(func() {
		cancel()
		g.Stop()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(out.stop)
	return out
}

// folder is one whose path is short enough for a socket.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sds-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// agentCluster leads to a socket.
const agentCluster = `{name: sds, type: STATIC, connect_timeout: 1s,
  load_assignment: {cluster_name: sds, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %s}}}}]}]},
  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}}`

// rig is an Envoy with its secrets from a socket.
type rig struct {
	*envoy.Envoy
	in, out, socket string
	state           *state
	ca              *nodetest.Authority
}

func start(t *testing.T, protocol string, give ...spiffeid.ID) *rig {
	t.Helper()
	dir := folder(t)
	r := &rig{socket: filepath.Join(dir, "sds.sock"), state: newState(), ca: nodetest.NewAuthority(t)}
	r.state.set(func(s *content) { s.Bundles = r.ca.Bundles() })
	for _, id := range give {
		r.state.give(svid(t, r.ca, id))
	}
	xds := filepath.Join(dir, "x")
	empty(t, xds)
	port := freePort(t)
	r.in = fmt.Sprintf("127.0.0.1:%d", port)
	m := envoy.MTLS{Port: port, Server: web.String(), Client: client.String(), Secrets: envoy.Secrets("sds", protocol, ""), OnDemand: true}
	yaml := "static_resources: {listeners: [" + m.Inbound() + ", " + m.Outbound() + "], clusters: [" + m.Cluster() + ", " + fmt.Sprintf(agentCluster, r.socket) + "]}"
	r.Envoy = envoy.Start(t, envoy.Options{Config: bootstrap.Config{XDS: "unix:" + xds}, Args: []string{"--config-yaml", yaml}})
	return r
}

// empty serves a control plane that has nothing.
func empty(t *testing.T, path string) {
	t.Helper()
	s := snapshot.NewStatic()
	s.Update(1, nil)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(push.ServerOptions()...)
	push.New(push.Config{Source: s}).Register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// handshake connects to the mTLS listener as client and gives what it showed.
func (r *rig) handshake(t *testing.T, as *node.SVID) (*tls.Conn, error) {
	t.Helper()
	c := tls.Certificate{PrivateKey: as.Key}
	for _, x := range as.Chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, Certificates: []tls.Certificate{c},
		VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { return nil },
	}}
	conn, err := d.Dial("tcp", r.in)
	if err != nil {
		return nil, err
	}
	out := conn.(*tls.Conn)
	if err := request(out); err != nil { // TLS 1.3 tells a refused client certificate only now
		_ = out.Close()
		return nil, err
	}
	return out, nil
}

// request sends one request over a connection that stays open.
func request(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		return err
	}
	if string(b[:min(n, 12)]) != "HTTP/1.1 200" {
		return fmt.Errorf("answered %q", b[:n])
	}
	return nil
}

// shown is the certificate that the listener shows.
func (r *rig) shown(t *testing.T, as *node.SVID) (*x509.Certificate, error) {
	conn, err := r.handshake(t, as)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// get sends a request through both listeners.
func (r *rig) get() error {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + r.out + "/")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return err
}

func eventually(t *testing.T, what string, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
