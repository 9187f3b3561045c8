package integration_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

// pushRig is a source, a push server on a Unix socket that can be restarted, and an Envoy.
type pushRig struct {
	t      *testing.T
	src    *snapshot.Static
	path   string
	srv    *push.Server
	stop   func()
	envoy  *envoy.Envoy
	nextID uint64
}

func newPushRig(t *testing.T, first ...*snapshot.Resource) *pushRig {
	t.Helper()
	r := &pushRig{t: t, src: snapshot.NewStatic(), path: filepath.Join(t.TempDir(), "x")}
	r.update(first)
	r.serve()
	t.Cleanup(func() { r.stop() })
	r.envoy = envoy.Start(t, envoy.Options{Config: bootstrap.Config{XDS: "unix:" + r.path}})
	if err := r.envoy.WaitReady(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *pushRig) serve() {
	r.t.Helper()
	lis, err := net.Listen("unix", r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	g := grpc.NewServer(push.ServerOptions()...)
	r.srv = push.New(push.Config{Source: r.src})
	r.srv.Register(g)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(lis) }()
	srv := r.srv
	r.stop = func() { srv.Drain(); g.GracefulStop(); <-done }
}

func (r *pushRig) update(put []*snapshot.Resource, del ...snapshot.Key) {
	r.nextID++
	r.src.Update(r.nextID, put, del...)
}

// until polls a condition; it fails with what the condition said last.
func until(t *testing.T, what string, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
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

// settled waits until Envoy has acknowledged the latest snapshot.
func (r *pushRig) settled() push.ClientInfo {
	r.t.Helper()
	var c push.ClientInfo
	until(r.t, "envoy acknowledges", func() error {
		clients := r.srv.Clients()
		if len(clients) != 1 {
			return fmt.Errorf("%d clients", len(clients))
		}
		if c = clients[0]; c.Settled != r.src.Latest().Seq() {
			return fmt.Errorf("settled at %d of %d: %+v", c.Settled, r.src.Latest().Seq(), c.Types)
		}
		return nil
	})
	return c
}

func encoded(t *testing.T, name string, m proto.Message) *snapshot.Resource {
	t.Helper()
	r, err := snapshot.Encode(name, m, 1, model.Ref{Kind: "Test", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3, InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func edsCluster(t *testing.T, name string, timeout time.Duration) *snapshot.Resource {
	return encoded(t, name, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(timeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource()},
	})
}

func endpoints(t *testing.T, name string, addresses ...string) *snapshot.Resource {
	l := &endpointv3.LocalityLbEndpoints{}
	for _, a := range addresses {
		ap := netip.MustParseAddrPort(a)
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: socket(ap.Addr().String(), uint32(ap.Port()))},
		}})
	}
	return encoded(t, name, &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{l}})
}

func socket(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func httpListener(t *testing.T, name, routes string) *snapshot.Resource {
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: routes, ConfigSource: adsSource()}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(t, &routerv3.Router{})},
		}},
	}
	return encoded(t, name, &listenerv3.Listener{
		Name: name, Address: socket("127.0.0.1", 0),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, hcm)},
		}}}},
	})
}

func host(name, domain, cluster string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: []string{domain}, Routes: []*routev3.Route{{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}},
	}}}
}

func routes(t *testing.T, name string, hosts ...*routev3.VirtualHost) *snapshot.Resource {
	return encoded(t, name, &routev3.RouteConfiguration{Name: name, VirtualHosts: hosts})
}

func vhdsRoutes(t *testing.T, name string) *snapshot.Resource {
	return encoded(t, name, &routev3.RouteConfiguration{Name: name, Vhds: &routev3.Vhds{ConfigSource: adsSource()}})
}

// backend answers with its name; it returns its address.
func backend(t *testing.T, name string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// get asks Envoy's listener for a host; the answer is "status body".
func get(address, host string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(b)), err
}

func wantAnswer(t *testing.T, address, host, want string) {
	t.Helper()
	until(t, "ask "+host, func() error {
		got, err := get(address, host)
		if err == nil && got != want {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}

func TestPushServesEnvoy(t *testing.T) {
	a, b := backend(t, "a"), backend(t, "b")
	r := newPushRig(t,
		edsCluster(t, "one", time.Second), endpoints(t, "one", a), httpListener(t, "l", "rc"), routes(t, "rc", host("one", "one", "one")),
		httpListener(t, "lv", "v"), vhdsRoutes(t, "v"), encoded(t, "v/one", host("v/one", "one", "one")))
	l, err := r.envoy.WaitListener("l", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	lv, err := r.envoy.WaitListener("lv", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, l, "one", "200 a")
	wantAnswer(t, lv, "one", "200 a")
	if c := r.settled(); c.Version != envoy.Version || c.Agent != "envoy" || c.Node.ID != "test-node" {
		t.Errorf("client is %+v", c)
	}

	t.Run("endpoints move under traffic", func(t *testing.T) {
		load := startLoad(l, "one")
		r.update([]*snapshot.Resource{endpoints(t, "one", b)})
		wantAnswer(t, l, "one", "200 b")
		load.stop(t)
	})
	t.Run("changed cluster does not warm for ever", func(t *testing.T) {
		load := startLoad(l, "one")
		r.update([]*snapshot.Resource{edsCluster(t, "one", 3*time.Second)})
		r.settled()
		until(t, "cluster becomes active", func() error {
			dump, err := r.envoy.AdminGet("/config_dump?resource=dynamic_active_clusters")
			if err == nil && !strings.Contains(string(dump), `"connect_timeout": "3s"`) {
				err = fmt.Errorf("the active one is not the new one")
			}
			return err
		})
		load.stop(t)
	})
	t.Run("changed cluster without an endpoint resource", func(t *testing.T) {
		r.update([]*snapshot.Resource{edsCluster(t, "bare", time.Second), endpoints(t, "bare", a)})
		r.settled()
		r.update(nil, snapshot.Key{Type: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", Name: "bare"})
		r.settled()
		r.update([]*snapshot.Resource{edsCluster(t, "bare", 4*time.Second)})
		r.settled()
		r.update(nil, snapshot.Key{Type: "type.googleapis.com/envoy.config.cluster.v3.Cluster", Name: "bare"})
		r.settled()
	})
	t.Run("a new host and its cluster, then gone", func(t *testing.T) {
		load := startLoad(l, "one")
		r.update([]*snapshot.Resource{
			edsCluster(t, "two", time.Second), endpoints(t, "two", a),
			routes(t, "rc", host("one", "one", "two")), encoded(t, "v/two", host("v/two", "two", "two")),
		}, snapshot.Key{Type: "type.googleapis.com/envoy.config.cluster.v3.Cluster", Name: "one"},
			snapshot.Key{Type: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", Name: "one"},
			snapshot.Key{Type: "type.googleapis.com/envoy.config.route.v3.VirtualHost", Name: "v/one"})
		r.settled()
		wantAnswer(t, l, "one", "200 a")
		wantAnswer(t, lv, "two", "200 a")
		wantAnswer(t, lv, "one", "404 ")
		load.stop(t)
	})
	t.Run("a later route configuration without hosts", func(t *testing.T) {
		r.update([]*snapshot.Resource{httpListener(t, "lw", "w"), vhdsRoutes(t, "w")})
		lw, err := r.envoy.WaitListener("lw", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, lw, "two", "404 ")
		r.update([]*snapshot.Resource{encoded(t, "w/two", host("w/two", "two", "two"))})
		wantAnswer(t, lw, "two", "200 a")
	})
	t.Run("reconnect sends nothing", func(t *testing.T) {
		r.settled()
		r.stop()
		r.serve()
		c := r.settled()
		until(t, "all types come back", func() error {
			c = r.settled()
			if len(c.Types) != 5 {
				return fmt.Errorf("%d types", len(c.Types))
			}
			return nil
		})
		for _, ty := range c.Types {
			if ty.Responses != 0 || ty.Resources == 0 {
				t.Errorf("%s: %d responses to a client that has all, %d resources known", ty.Type, ty.Responses, ty.Resources)
			}
		}
		r.update([]*snapshot.Resource{endpoints(t, "two", b)})
		wantAnswer(t, l, "one", "200 b")
	})
	if n, names, err := r.envoy.UpdateRejected(); err != nil || n != 0 {
		t.Errorf("envoy rejected %d updates: %v %v", n, names, err)
	}
}

// load is traffic that must not fail.
type load struct {
	done   chan struct{}
	wg     sync.WaitGroup
	asked  atomic.Int64
	failed atomic.Value
}

func startLoad(address, host string) *load {
	l := &load{done: make(chan struct{})}
	l.wg.Go(func() {
		for {
			select {
			case <-l.done:
				return
			default:
			}
			if got, err := get(address, host); err != nil || !strings.HasPrefix(got, "200") {
				l.failed.Store(fmt.Sprintf("%s %v", got, err))
			}
			l.asked.Add(1)
		}
	})
	return l
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	before := l.asked.Load()
	until(t, "requests after the change", func() error {
		if l.asked.Load() < before+20 {
			return fmt.Errorf("only %d", l.asked.Load()-before)
		}
		return nil
	})
	close(l.done)
	l.wg.Wait()
	if f := l.failed.Load(); f != nil {
		t.Errorf("a request failed: %s", f)
	}
}

func TestPushQuarantinesOneOfFifty(t *testing.T) {
	faults := map[string]func(*clusterv3.Cluster){
		"named by envoy": func(c *clusterv3.Cluster) {
			c.TransportSocket = &corev3.TransportSocket{Name: "nosuch"}
		},
		"not named, takes all down": func(c *clusterv3.Cluster) {
			c.ConnectTimeout = &durationpb.Duration{Seconds: -1}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			a := backend(t, "a")
			r := newPushRig(t, edsCluster(t, "base", time.Second), endpoints(t, "base", a))
			r.settled()
			var put []*snapshot.Resource
			for i := range 50 {
				n := fmt.Sprintf("svc/c%02d", i)
				if i == 17 {
					bad := &clusterv3.Cluster{Name: n, ConnectTimeout: durationpb.New(time.Second)}
					fault(bad)
					put = append(put, encoded(t, n, bad))
					continue
				}
				put = append(put, edsCluster(t, n, time.Second), endpoints(t, n, a))
			}
			r.update(put)
			r.settled()
			until(t, "49 clusters become active", func() error {
				stats, err := r.envoy.Stats("^cluster_manager\\.(active|warming)_clusters$")
				if err == nil && (stats["cluster_manager.active_clusters"] != 51 || stats["cluster_manager.warming_clusters"] != 0) {
					err = fmt.Errorf("%v, want 49 and the two that were there", stats)
				}
				return err
			})
			st := r.srv.Status().For(model.Ref{Kind: "Test", Name: "svc/c17"})
			if len(st.Rejected) != 1 || st.Programmed() {
				t.Errorf("status of the bad one: %+v", st)
			} else {
				t.Logf("envoy's words: %s", st.Rejected[0].Message)
			}
			if st := r.srv.Status().For(model.Ref{Kind: "Test", Name: "svc/c18"}); !st.Programmed() {
				t.Errorf("status of a good one: %+v", st)
			}
			for _, ty := range r.settled().Types {
				if ty.Nacks > 0 {
					t.Logf("%s: %d responses, %d rejected", ty.Type, ty.Responses, ty.Nacks)
				}
			}
		})
	}
}
