package loadclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

// The delta protocol against a server that pushes as istiod does: it waits for no acknowledgement, its versions are its own,
// and it sends endpoints again with every cluster.
func TestRequestsOfAStream(t *testing.T) {
	s, address := play(t)
	f, err := Start(context.Background(), Config{Addresses: []string{address}, Node: IstioSidecar("ns1"), Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	c := f.Clients()[0]

	q := s.want(xds.ClusterType)
	if q.Node.GetId() != "sidecar~10.200.0.1~load-0.ns1~ns1.svc.cluster.local" || q.Node.GetMetadata().GetFields()["NAMESPACE"].GetStringValue() != "ns1" {
		t.Errorf("node %v", q.Node)
	}
	if len(q.ResourceNamesSubscribe)+len(q.InitialResourceVersions) > 0 {
		t.Errorf("first request %v", q)
	}
	nonce := s.send(xds.ClusterType, "v1", clusterOf("c1", "1"), clusterOf("c2", "1"))
	if q = s.want(xds.ClusterType); q.ResponseNonce != nonce || q.Node != nil || q.ErrorDetail != nil {
		t.Errorf("acknowledgement %v", q)
	}
	if q = s.want(xds.EndpointType); !slices.Equal(sorted(q.ResourceNamesSubscribe), []string{"c1", "c2"}) {
		t.Errorf("endpoints %v", q)
	}
	// A part is not all: listeners have to wait.
	s.send(xds.EndpointType, "v1", endpointsOf("c1", "1"))
	s.want(xds.EndpointType)
	s.send(xds.EndpointType, "v1", endpointsOf("c2", "1"))
	s.want(xds.EndpointType)
	s.want(xds.ListenerType)
	s.send(xds.ListenerType, "v1")
	s.want(xds.ListenerType)
	if err := f.Complete(patience(t)); err != nil {
		t.Fatal(err)
	}

	// Two responses at once. A changed cluster warms: its acknowledgement follows the endpoints.
	first := s.send(xds.ClusterType, "v2", clusterOf("c1", "2"))
	second := s.send(xds.ClusterType, "v3", clusterOf("c1", "3"), clusterOf("c3", "1"))
	if q = s.want(xds.EndpointType); !slices.Equal(q.ResourceNamesSubscribe, []string{"c3"}) {
		t.Errorf("endpoints %v", q)
	}
	s.send(xds.EndpointType, "v3", endpointsOf("c1", "1"), endpointsOf("c3", "1"))
	s.want(xds.EndpointType)
	if a, b := s.want(xds.ClusterType), s.want(xds.ClusterType); a.ResponseNonce != first || b.ResponseNonce != second {
		t.Errorf("acknowledgements %v %v", a, b)
	}

	// A removal unsubscribes.
	s.out <- &discovery.DeltaDiscoveryResponse{TypeUrl: xds.ClusterType, Nonce: "r", RemovedResources: []string{"c2"}}
	s.want(xds.ClusterType)
	if q = s.want(xds.EndpointType); !slices.Equal(q.ResourceNamesUnsubscribe, []string{"c2"}) || len(q.ResourceNamesSubscribe) > 0 {
		t.Errorf("endpoints %v", q)
	}

	// A new stream tells what the client has.
	s.out <- nil
	if q = s.want(xds.ClusterType); q.Node == nil || len(q.ResourceNamesSubscribe) > 0 || fmt.Sprint(q.InitialResourceVersions) != "map[c1:v3 c3:v3]" {
		t.Errorf("clusters %v", q)
	}
	q = s.want(xds.EndpointType)
	if q.Node != nil || !slices.Equal(sorted(q.ResourceNamesSubscribe), []string{"c1", "c3"}) || fmt.Sprint(q.InitialResourceVersions) != "map[c1:v3 c3:v3]" {
		t.Errorf("endpoints %v", q)
	}
	s.want(xds.ListenerType)
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "the server ended it") || !strings.Contains(err.Error(), address) {
		t.Errorf("error %v", err)
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestWhatDoesNotComeIsGivenUp(t *testing.T) {
	s, address := play(t)
	f, err := Start(context.Background(), Config{Addresses: []string{address}, FetchTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	s.want(xds.ClusterType)
	s.send(xds.ClusterType, "v1", clusterOf("c1", "1"))
	s.want(xds.ClusterType)
	s.want(xds.EndpointType)
	s.want(xds.ListenerType) // without endpoints
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	err = f.Complete(ctx)
	if err == nil || !strings.Contains(err.Error(), `waits for 1 of 1 ClusterLoadAssignment, "c1" first`) || !strings.Contains(err.Error(), "enough") {
		t.Errorf("Complete: %v", err)
	}
	if n := f.Counts()[xds.EndpointType].Timeouts; n != 1 {
		t.Errorf("%d timeouts", n)
	}
	s.send(xds.EndpointType, "v1", endpointsOf("c1", "1"))
	s.send(xds.ListenerType, "v1")
	if err := f.Complete(patience(t)); err != nil {
		t.Error(err)
	}
}

func TestBrokenResponsesEndTheStream(t *testing.T) {
	s, address := play(t)
	f, err := Start(context.Background(), Config{Addresses: []string{address}, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	for _, tt := range []struct {
		m    *discovery.DeltaDiscoveryResponse
		want string
	}{
		{&discovery.DeltaDiscoveryResponse{Nonce: "1"}, "no type_url"},
		{&discovery.DeltaDiscoveryResponse{TypeUrl: xds.SecretType}, "was not asked for"},
		{&discovery.DeltaDiscoveryResponse{TypeUrl: xds.ClusterType, Resources: []*discovery.Resource{
			{Name: "x", Resource: &anyBroken},
		}}, `read Cluster "x"`},
	} {
		s.want(xds.ClusterType)
		s.out <- tt.m
		eventually(t, func() error {
			if err := f.Clients()[0].Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
				return fmt.Errorf("error %w, want %s", err, tt.want)
			}
			return nil
		})
	}
	for n := range 20 {
		b, err := proto.Marshal(&discovery.DeltaDiscoveryResponse{TypeUrl: "0123456789", Nonce: "01234"})
		if err != nil {
			t.Fatal(err)
		}
		if n == 19 {
			n = len(b)
		}
		if _, err := cut(b[:n], false); (err == nil) != (n == len(b) || n == 12) {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
}

// A client that does not read holds its server up, and no other client.
func TestStoppedClientHoldsItsServerUp(t *testing.T) {
	const messages = 300
	var sent [2]atomic.Int64 // by client
	address := serveFake(t, fake{delta: func(st discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
		q, err := st.Recv()
		if err != nil {
			return err
		}
		n := &sent[0]
		if q.Node.GetId() == "load-1" {
			n = &sent[1]
		}
		for i := range messages {
			m := &discovery.DeltaDiscoveryResponse{TypeUrl: xds.ClusterType, Nonce: fmt.Sprint(i), Resources: []*discovery.Resource{{
				Name: "c", Resource: pack(t, clusterOf("c", strings.Repeat("x", 20_000)+fmt.Sprint(i))),
			}}}
			if err := st.Send(m); err != nil {
				return err
			}
			n.Add(1)
		}
		<-st.Context().Done()
		return nil
	}})
	f, err := Start(context.Background(), Config{Addresses: []string{address}, N: 2, Window: 65536, Behave: func(i int) Behaviour {
		return Behaviour{Stopped: i == 1}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	received := func(c *Client) error {
		if n := c.Counts()[xds.ClusterType].Messages; n != messages {
			return fmt.Errorf("%s has %d messages, its server sent %d", c.ID(), n, sent[c.Number()].Load())
		}
		return nil
	}
	eventually(t, func() error { return received(f.Clients()[0]) })
	if n := sent[1].Load(); n > 20 { // of 20 kB: a window of 64 kB, and the server's own buffer
		t.Errorf("the server could send %d messages to a client that reads none", n)
	}
	f.Clients()[1].Behave(Behaviour{Delay: time.Microsecond})
	eventually(t, func() error { return received(f.Clients()[1]) })
}

func TestConfigErrors(t *testing.T) {
	_, err := Start(context.Background(), Config{Addresses: []string{"here"}, N: -1, Window: 1})
	for _, want := range []string{`address "here" is neither`, "-1 clients", "window of 1 bytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	if _, err := Start(context.Background(), Config{}); err == nil {
		t.Error("no address, no error")
	}
	if id := IstioGateway("gw", map[string]string{"istio": "ingressgateway"})(3).GetId(); id != "router~10.200.0.4~load-3.gw~gw.svc.cluster.local" {
		t.Errorf("gateway %s", id)
	}
}
