package envoy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// helloChain answers every request with 200 "hello".
func helloChain(t *testing.T) *listenerv3.FilterChain {
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "hello",
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(t, &routerv3.Router{})},
		}},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: "hello", VirtualHosts: []*routev3.VirtualHost{{
				Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
					Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
					Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
						Status: 200, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "hello"}},
					}},
				}},
			}},
		}},
	}
	return &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name:       "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, manager)},
	}}}
}

func loopbackListener(t *testing.T, name string) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: name, FilterChains: []*listenerv3.FilterChain{helloChain(t)},
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
		}}},
	}
}

// internalListener is accepted only with the bootstrap's internal-listener extension.
func internalListener(t *testing.T, name string) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: name, FilterChains: []*listenerv3.FilterChain{helloChain(t)},
		ListenerSpecifier: &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
	}
}

func expectHello(t *testing.T, e *envoy.Envoy) {
	t.Helper()
	if err := e.WaitReady(patience); err != nil {
		t.Fatal(err)
	}
	address, err := e.WaitListener("hello", patience)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + address + "/any")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || string(body) != "hello" {
		t.Errorf("got %s %q, want 200 hello", res.Status, body)
	}
}

func TestEnvoyServesWhatDeltaADSGives(t *testing.T) {
	server := &ads{listeners: []*listenerv3.Listener{loopbackListener(t, "hello"), internalListener(t, "outbound")}}
	e := envoy.Start(t, envoy.Options{Config: bootstrap.Config{NodeID: "node-a", XDS: server.serve(t)}})
	expectHello(t, e)

	if n, names, err := e.UpdateRejected(); err != nil || n != 0 {
		_, nacks := server.seen()
		t.Errorf("rejected %d %v (%v): %v", n, names, err, nacks)
	}
	if node, _ := server.seen(); node != "node-a" {
		t.Errorf("server saw node %q, want node-a", node)
	}
	stats, err := e.Stats(`^http\.hello\.downstream_rq_2xx$`)
	if err != nil || len(stats) != 1 || stats["http.hello.downstream_rq_2xx"] != 1 {
		t.Errorf("stats = %v (%v), want one request", stats, err)
	}
	if dump, err := e.ConfigDump(); err != nil || !strings.Contains(string(dump), `"outbound"`) {
		t.Errorf("the internal listener is not in the config dump (%v): %s", err, dump)
	}
}

func TestEnvoyReportsWhatItRejects(t *testing.T) {
	bad := &listenerv3.Listener{Name: "no-address", FilterChains: []*listenerv3.FilterChain{helloChain(t)}}
	server := &ads{listeners: []*listenerv3.Listener{loopbackListener(t, "hello"), bad}}
	e := envoy.Start(t, envoy.Options{Config: bootstrap.Config{XDS: server.serve(t)}})
	expectHello(t, e)

	n, names, err := e.UpdateRejected()
	if err != nil || n == 0 || len(names) != 1 || names[0] != "listener_manager.lds.update_rejected" {
		t.Errorf("rejected %d %v (%v), want lds", n, names, err)
	}
	if _, nacks := server.seen(); len(nacks) == 0 || !strings.Contains(nacks[0], "no-address") {
		t.Errorf("nacks = %q, want one that names the listener", nacks)
	}
}

func TestEnvoyRestartsOverAUnixAdminSocket(t *testing.T) {
	server := &ads{listeners: []*listenerv3.Listener{loopbackListener(t, "hello")}}
	e := envoy.Start(t, envoy.Options{Config: bootstrap.Config{
		XDS: server.serve(t), Admin: "unix:" + t.TempDir() + "/a",
	}})
	expectHello(t, e)
	before := e.Pid()
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	if e.Pid() == before {
		t.Error("the process is the same one")
	}
	expectHello(t, e)
}

func TestEnvoyThatCannotStartSaysWhy(t *testing.T) {
	_, err := envoy.Run(envoy.Options{Config: bootstrap.Config{XDS: "unix:/x"}, Args: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("error %v, want Envoy's own words", err)
	}
}

func TestMissingEnvoySaysMakeTools(t *testing.T) {
	t.Setenv("FAIRLEAD_CACHE", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	_, err := envoy.Run(envoy.Options{Config: bootstrap.Config{XDS: "unix:/x"}})
	if err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("error %v, want one that says make tools", err)
	}
}
