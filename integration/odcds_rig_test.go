package integration_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
)

// odcds is a delta ADS server whose every answer a test decides, and an Envoy with our bootstrap (so CDS is also subscribed
// to as a whole). Clusters are sent only to who asks for them by name.
type odcds struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	t     *testing.T
	envoy *envoy.Envoy

	mu     sync.Mutex
	state  map[string]map[string]proto.Message // type, name
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	subs   map[string]map[string]bool // of the stream: type, name
	asked  []string                   // of the stream: "Cluster a", "Cluster -a" when it is given up
	nacks  []string
	nonce  int
	kick   chan struct{} // ends the stream
}

// newODCDS starts both. wait is how long a request waits for a cluster. Hosts "a" and so on are routed to clusters of their
// names; names in tcp have a listener with tcp_proxy.
func newODCDS(t *testing.T, wait time.Duration, tcp ...string) *odcds {
	t.Helper()
	o := &odcds{t: t, state: map[string]map[string]proto.Message{}}
	o.put(xds.ListenerType, "http", o.httpListener(wait))
	for _, name := range tcp {
		o.put(xds.ListenerType, "tcp-"+name, o.tcpListener(name, wait))
	}
	path := filepath.Join(t.TempDir(), "x")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(s, o)
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(lis) }()
	t.Cleanup(func() { s.Stop(); <-served })
	o.envoy = envoy.Start(t, envoy.Options{
		Config: bootstrap.Config{XDS: "unix:" + path},
		Args:   []string{"--component-log-level", "upstream:info"},
	})
	if err := o.envoy.WaitReady(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.nacks) > 0 {
			t.Errorf("Envoy refused: %q", o.nacks)
		}
	})
	return o
}

func (o *odcds) httpListener(wait time.Duration) *listenerv3.Listener {
	var hosts []*routev3.VirtualHost
	for i := range 60 {
		name := "s" + strconv.Itoa(i)
		hosts = append(hosts, host(name, name, name))
	}
	return listening("http", "envoy.http", packed(o.t, &hcmv3.HttpConnectionManager{
		StatPrefix: "http",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: "r", VirtualHosts: hosts, ValidateClusters: wrapperspb.Bool(false),
		}},
		HttpFilters: []*hcmv3.HttpFilter{
			{Name: "envoy.filters.http.on_demand", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(o.t, &ondemandv3.OnDemand{
				Odcds: &ondemandv3.OnDemandCds{Source: adsSource(), Timeout: durationpb.New(wait)},
			})}},
			{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(o.t, &routerv3.Router{})}},
		},
	}))
}

func (o *odcds) tcpListener(cluster string, wait time.Duration) *listenerv3.Listener {
	return listening("tcp-"+cluster, "envoy.tcp", packed(o.t, &tcpv3.TcpProxy{
		StatPrefix: "tcp", ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster},
		OnDemand: &tcpv3.TcpProxy_OnDemand{OdcdsConfig: adsSource(), Timeout: durationpb.New(wait)},
	}))
}

func (o *odcds) put(typeURL, name string, m proto.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state[typeURL] == nil {
		o.state[typeURL] = map[string]proto.Message{}
	}
	o.state[typeURL][name] = m
	if o.subs[typeURL][name] {
		o.send(typeURL, name)
	}
}

// remove takes a resource away and tells who subscribes to it.
func (o *odcds) remove(typeURL, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.state[typeURL], name)
	if o.subs[typeURL][name] {
		o.send(typeURL, name)
	}
}

// service makes a cluster with one endpoint, whose EDS name is given.
func (o *odcds) service(name, eds, address string) {
	at := netip.MustParseAddrPort(address)
	o.put(xds.EndpointType, eds, &endpointv3.ClusterLoadAssignment{ClusterName: eds, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: socket(at.Addr().String(), uint32(at.Port()))},
		}}},
	}}})
	o.put(xds.ClusterType, name, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource(), ServiceName: eds},
	})
}

// DeltaAggregatedResources answers: listeners and the CDS subscription as a whole at once (the latter with nothing), a name
// with its resource, or as removed when there is none.
func (o *odcds) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	kick := make(chan struct{})
	o.mu.Lock()
	o.stream, o.subs, o.asked, o.kick = stream, map[string]map[string]bool{}, nil, kick
	o.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the stream
		defer close(done)
		for {
			q, err := stream.Recv()
			if err != nil {
				return
			}
			o.take(stream, q)
		}
	}()
	select {
	case <-kick:
	case <-done:
	}
	return nil
}

// reconnect ends Envoy's stream and waits for the next one.
func (o *odcds) reconnect() {
	o.t.Helper()
	o.mu.Lock()
	old := o.kick
	o.mu.Unlock()
	close(old)
	until(o.t, "Envoy comes back", func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.kick == old || o.subs[xds.ClusterType] == nil {
			return errors.New("no new stream that asks for clusters")
		}
		return nil
	})
}

func (o *odcds) take(stream grpc.ServerStream, q *discovery.DeltaDiscoveryRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stream != stream {
		return // what was under way when the stream was ended
	}
	if q.ErrorDetail != nil {
		o.nacks = append(o.nacks, q.ErrorDetail.Message)
	}
	first := o.subs[q.TypeUrl] == nil
	if first {
		o.subs[q.TypeUrl] = map[string]bool{}
	}
	word := q.TypeUrl[strings.LastIndex(q.TypeUrl, ".")+1:] + " "
	for _, name := range q.ResourceNamesUnsubscribe {
		o.asked = append(o.asked, word+"-"+name)
		delete(o.subs[q.TypeUrl], name)
	}
	for _, name := range q.ResourceNamesSubscribe {
		o.asked = append(o.asked, word+name)
		o.subs[q.TypeUrl][name] = true
	}
	switch {
	case q.TypeUrl == xds.ListenerType && first:
		var names []string
		for name := range o.state[q.TypeUrl] {
			names = append(names, name)
		}
		o.send(q.TypeUrl, names...)
	case first && len(q.ResourceNamesSubscribe) == 0:
		o.send(q.TypeUrl)
	case len(q.ResourceNamesSubscribe) > 0:
		o.send(q.TypeUrl, slices.DeleteFunc(slices.Clone(q.ResourceNamesSubscribe), func(s string) bool { return s == "*" })...)
	}
}

// send answers some names; o.mu is held.
func (o *odcds) send(typeURL string, names ...string) {
	o.nonce++
	res := &discovery.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: strconv.Itoa(o.nonce)}
	for _, name := range names {
		m, ok := o.state[typeURL][name]
		if !ok {
			res.RemovedResources = append(res.RemovedResources, name)
			continue
		}
		res.Resources = append(res.Resources, &discovery.Resource{Name: name, Version: strconv.Itoa(o.nonce), Resource: packed(o.t, m)})
	}
	_ = o.stream.Send(res) // a broken stream shows in what the test waits for
}

// count is how often Envoy has asked for something: "Cluster a".
func (o *odcds) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, a := range o.asked {
		if a == what {
			n++
		}
	}
	return n
}

// address is where a listener listens.
func (o *odcds) address(listener string) string {
	o.t.Helper()
	a, err := o.envoy.WaitListener(listener, 30*time.Second)
	if err != nil {
		o.t.Fatal(err)
	}
	return a
}

// answer is what a request to a host gets: status, and body of the backend.
func (o *odcds) answer(name string) string {
	o.t.Helper()
	got, err := get(o.address("http"), name)
	if err != nil {
		return err.Error()
	}
	return got
}

// timedOut tells whether Envoy gave up a discovery by its clock.
func (o *odcds) timedOut(name string) bool {
	return strings.Contains(o.envoy.Log(), fmt.Sprintf("on-demand discovery for cluster %s timed out", name))
}

// speak connects to a TCP listener and sends an HTTP/1.0 request; it returns all that comes.
func (o *odcds) speak(listener string) string {
	o.t.Helper()
	c, err := net.Dial("tcp", o.address(listener))
	if err != nil {
		o.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err.Error()
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// listening is a loopback listener with one filter.
func listening(name, filter string, config *anypb.Any) *listenerv3.Listener {
	return &listenerv3.Listener{Name: name, Address: socket("127.0.0.1", 0), FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{Name: filter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}}},
	}}}
}

// says tells what a request got instead of what was wanted.
func (o *odcds) says(name, want string) error {
	if got := o.answer(name); got != want {
		return fmt.Errorf("%s: %q, want %q", name, got, want)
	}
	return nil
}
