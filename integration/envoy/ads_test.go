package envoy_test

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

const listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"

// ads answers every first subscription: listeners for LDS, nothing for the rest. It keeps what Envoy refused.
type ads struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	listeners []*listenerv3.Listener

	mu    sync.Mutex
	node  string   // node.id of the last stream
	nacks []string // Envoy's words
}

// serve starts it on a Unix socket and returns the address for the bootstrap.
func (a *ads) serve(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, a)
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "unix:" + path
}

func (a *ads) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		a.note(req)
		if req.GetResponseNonce() != "" {
			continue
		}
		res := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: req.GetTypeUrl(), Nonce: "1"}
		if req.GetTypeUrl() == listenerType {
			for _, l := range a.listeners {
				body, err := anypb.New(l)
				if err != nil {
					return err
				}
				res.Resources = append(res.Resources, &discoveryv3.Resource{Name: l.GetName(), Version: "1", Resource: body})
			}
		}
		if err := stream.Send(res); err != nil {
			return err
		}
	}
}

func (a *ads) note(req *discoveryv3.DeltaDiscoveryRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id := req.GetNode().GetId(); id != "" {
		a.node = id
	}
	if e := req.GetErrorDetail(); e != nil {
		a.nacks = append(a.nacks, e.GetMessage())
	}
}

func (a *ads) seen() (node string, nacks []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.node, append([]string(nil), a.nacks...)
}
