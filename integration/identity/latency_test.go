package identity_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/attest"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
	"fairlead.io/fairlead/pkg/node/sds"
	nodeworkloadapi "fairlead.io/fairlead/pkg/node/workloadapi"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

// BenchmarkRotationReaches measures from the moment in which the keeper of an agent is given a new SVID, because another
// authority signs, until (ack) a real Envoy has acknowledged it, (shown) a handshake with that Envoy shows it, and (spiffe)
// go-spiffe's client in a pod has it. Between its acknowledgement and the first handshake Envoy hands the secret to its workers.
func BenchmarkRotationReaches(b *testing.B) {
	b.Run("quiet", func(b *testing.B) { reaches(b, 0) })
	b.Run("handshakes", func(b *testing.B) { reaches(b, 2) })
}

const podUID = "5c1d0d6e-0000-4000-8000-00000000000a"

// latency is a node's half of an agent with one pod, its Envoy, and a client of its Workload API.
type latency struct {
	testing.TB
	ca     *nodetest.Authority
	keeper *keeper.Keeper
	in     string

	mu    sync.Mutex
	given map[string]time.Time // by serial number: to the keeper, and
	came  map[string]time.Time // to go-spiffe
	acked []time.Time          // by Envoy, of the pod's secret
	last  string               // serial number
}

// SignX509 implements keeper.Signer.
func (l *latency) SignX509(_ context.Context, requests []keeper.Request) ([]keeper.Result, error) {
	out := make([]keeper.Result, len(requests))
	for i, r := range requests {
		id := nodetest.NodeID
		if r.Pod != nil {
			id = spiffeid.RequireFromString(webID)
		}
		key, err := publicKey(r.CSR)
		if err != nil {
			return nil, err
		}
		x, err := l.ca.Issue(id, key, time.Hour)
		if err != nil {
			return nil, err
		}
		out[i] = keeper.Result{ID: id, Chain: x.Chain, Authority: x.Authority}
		if r.Pod != nil {
			l.mu.Lock()
			l.last = x.Chain[0].SerialNumber.String()
			l.given[l.last] = time.Now()
			l.mu.Unlock()
		}
	}
	return out, nil
}

// SignJWT implements keeper.Signer.
func (l *latency) SignJWT(context.Context, ca.PodRef, []string) (node.JWT, error) {
	return node.JWT{}, errors.New("no tokens here")
}

// Attest takes every caller for the pod.
func (l *latency) Attest(context.Context, *net.UnixConn) (*attest.Caller, error) {
	return attest.NewCaller(podUID, 1, proof{}), nil
}

type proof struct{}

func (proof) Alive() error          { return nil }
func (proof) Gone() <-chan struct{} { return nil }
func (proof) Close()                {}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (l *latency) OnX509ContextUpdate(c *workloadapi.X509Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	serial := c.DefaultSVID().Certificates[0].SerialNumber.String()
	if _, ok := l.came[serial]; !ok {
		l.came[serial] = time.Now()
	}
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (l *latency) OnX509ContextWatchError(error) {}

// tap notes when Envoy acknowledges the secret of the pod.
func (l *latency) tap(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	return h(srv, &tapped{ServerStream: s, l: l})
}

type tapped struct {
	grpc.ServerStream
	l    *latency
	ours bool
}

func (t *tapped) RecvMsg(m any) error {
	err := t.ServerStream.RecvMsg(m)
	if r, ok := m.(*discovery.DeltaDiscoveryRequest); ok && err == nil {
		t.ours = t.ours || slices.Contains(r.GetResourceNamesSubscribe(), "in/"+webID)
		if t.ours && r.GetResponseNonce() != "" && r.GetErrorDetail() == nil {
			t.l.mu.Lock()
			t.l.acked = append(t.l.acked, time.Now())
			t.l.mu.Unlock()
		}
	}
	return err
}

func newLatency(b *testing.B) *latency {
	b.Helper()
	l := &latency{TB: b, ca: nodetest.NewAuthority(b), given: map[string]time.Time{}, came: map[string]time.Time{}}
	l.keeper = keeper.New(keeper.Config{Signer: l, Spread: time.Millisecond})
	l.keeper.SetBundles(l.ca.Bundles())
	ref := ca.PodRef{Namespace: "shop", Name: "web-1", UID: podUID, ServiceAccount: "web"}
	l.keeper.Update([]keeper.Pod{{PodRef: ref, ID: spiffeid.RequireFromString(webID)}}, nil)
	secrets := sds.New(sds.Config{Keeper: l.keeper})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() { cancel(); running.Wait() })
	running.Go(func() { _ = l.keeper.Run(ctx) })
	running.Go(func() { _ = secrets.Run(ctx) })
	dir := b.TempDir()
	socket := func(name string) (net.Listener, string) {
		path := filepath.Join(dir, name)
		x, err := net.Listen("unix", path)
		if err != nil {
			b.Fatal(err)
		}
		return x, path
	}
	serve := func(name string, register func(*grpc.Server), more ...grpc.ServerOption) string {
		x, path := socket(name)
		g := grpc.NewServer(append(push.ServerOptions(), more...)...)
		register(g)
		running.Go(func() { _ = g.Serve(x) })
		b.Cleanup(g.Stop)
		return path
	}
	sdsPath := serve("sds", func(g *grpc.Server) { secrets.Register(g) }, grpc.ChainStreamInterceptor(l.tap))
	empty := snapshot.NewStatic()
	empty.Update(1, nil)
	xds := serve("xds", func(g *grpc.Server) { push.New(push.Config{Source: empty}).Register(g) })

	api := nodeworkloadapi.New(nodeworkloadapi.Config{Identities: l.keeper, Attestor: l})
	x, workload := socket("api")
	running.Go(func() { _ = api.Serve(x) })
	b.Cleanup(api.Stop)
	client, err := workloadapi.New(ctx, workloadapi.WithAddr("unix://"+workload))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	running.Go(func() { _ = client.WatchX509Context(ctx, l) })

	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	l.in = free.Addr().String()
	_ = free.Close()
	e := envoy.Start(b, envoy.Options{
		Config: bootstrap.Config{XDS: "unix:" + xds},
		Args:   []string{"--config-yaml", fmt.Sprintf(plainClients, free.Addr().(*net.TCPAddr).Port, webID, sdsPath)},
	})
	if _, err := e.WaitListener("in", patience); err != nil {
		b.Fatal(err)
	}
	err = poll(b.Context(), func() error { _, err := l.handshake(); return err }) // it is listed before it listens
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// plainClients is a listener that shows the pod's certificate to everybody.
const plainClients = `
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}
    filter_chains:
    - filters: [{name: echo, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          disable_stateless_session_resumption: true
          disable_stateful_session_resumption: true
          common_tls_context:
            tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}
            tls_certificate_sds_secret_configs:
            - name: in/%[2]s
              sds_config: {resource_api_version: V3, initial_fetch_timeout: 0s, api_config_source: {api_type: DELTA_GRPC,
                transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: node-sds}}]}}
  clusters:
  - name: node-sds
    type: STATIC
    connect_timeout: 1s
    load_assignment: {cluster_name: node-sds, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %[3]s}}}}]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// handshake gives the serial number that the Envoy shows.
func (l *latency) handshake() (string, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}}
	conn, err := d.Dial("tcp", l.in)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// rotated is how long one rotation took to be acknowledged, shown, and told to go-spiffe.
type rotated struct{ ack, shown, spiffe time.Duration }

// rotate has another authority sign, and follows the pod's new SVID.
func (l *latency) rotate() rotated {
	l.Helper()
	l.mu.Lock()
	old, before := l.last, len(l.acked)
	l.mu.Unlock()
	l.ca.Sign(l.ca.Trust())
	_, err := l.ca.Update(context.Background(), func(s authority.State) (authority.State, error) {
		s.Generations = s.Generations[max(0, len(s.Generations)-2):]
		return s, nil
	})
	if err != nil {
		l.Fatal(err)
	}
	l.keeper.SetBundles(l.ca.Bundles())
	var out rotated
	for deadline := time.Now().Add(patience); out.ack == 0 || out.shown == 0 || out.spiffe == 0; {
		if time.Now().After(deadline) {
			l.Fatalf("not everybody has got the new SVID: %+v", out)
		}
		l.mu.Lock()
		serial, given := l.last, l.given[l.last]
		if serial != old {
			if at, ok := l.came[serial]; ok {
				out.spiffe = at.Sub(given)
			}
			if len(l.acked) > before {
				out.ack = l.acked[len(l.acked)-1].Sub(given)
			}
		}
		l.mu.Unlock()
		switch {
		case serial == old || out.shown > 0:
			time.Sleep(100 * time.Microsecond)
		default:
			got, err := l.handshake()
			if err != nil {
				l.Fatal(err)
			}
			if got == serial {
				out.shown = time.Since(given)
			}
		}
	}
	return out
}

func reaches(b *testing.B, load int) {
	l := newLatency(b)
	l.rotate()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for range load {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := l.handshake(); err != nil {
					b.Errorf("a handshake failed: %v", err)
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	var ack, shown, spiffe []time.Duration
	for b.Loop() {
		r := l.rotate()
		ack, shown, spiffe = append(ack, r.ack), append(shown, r.shown), append(spiffe, r.spiffe)
	}
	cancel()
	running.Wait()
	for name, took := range map[string][]time.Duration{"ack": ack, "shown": shown, "spiffe": spiffe} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms-"+name)
		b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms-"+name)
	}
}

func publicKey(der []byte) (crypto.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	return r.PublicKey, nil
}
