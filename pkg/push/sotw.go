package push

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"fairlead.io/fairlead/pkg/snapshot"
)

// sotw lets a state-of-the-world stream look like an incremental one: order, acknowledgements, quarantine and snapshots
// are those of delta ADS (xDS protocol, "Four Variants"). Nonces pass through.
type sotw struct {
	stream     discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer
	identifier string
	rest       *discovery.DeltaDiscoveryRequest // what is left of a request; only the receiver touches it

	mu     sync.Mutex // guards what follows: one goroutine receives, another sends
	worlds map[string]*world
}

func newSotW(stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer, identifier string) *sotw {
	return &sotw{stream: stream, identifier: identifier, worlds: map[string]*world{}}
}

// Context is the stream's.
func (s *sotw) Context() context.Context { return s.stream.Context() }

// Recv gives the next request as the differences that it means.
func (s *sotw) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	if rest := s.rest; rest != nil {
		s.rest = nil
		return rest, nil
	}
	req, err := s.stream.Recv()
	if err != nil {
		return nil, err
	}
	delta := s.request(req)
	// A client that goes over between names and a wildcard keeps what is in both: it must not be forgotten first.
	more, less := delta.GetResourceNamesSubscribe(), delta.GetResourceNamesUnsubscribe()
	if len(more) > 0 && len(less) > 0 && (slices.Contains(more, "*") || slices.Contains(less, "*")) {
		s.rest = &discovery.DeltaDiscoveryRequest{TypeUrl: delta.GetTypeUrl(), ResourceNamesUnsubscribe: less}
		delta.ResourceNamesUnsubscribe = nil
	}
	return delta, nil
}

func (s *sotw) request(req *discovery.DiscoveryRequest) *discovery.DeltaDiscoveryRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	url, nonce := req.GetTypeUrl(), req.GetResponseNonce()
	w := s.worlds[url]
	first := w == nil
	if first {
		w = &world{has: map[string]*snapshot.Resource{}}
		s.worlds[url] = w
	}
	delta := &discovery.DeltaDiscoveryRequest{Node: req.GetNode(), TypeUrl: url}
	// A stale request, sent before the client had the latest response, acknowledges nothing. What it lists still counts: a
	// name that it gives up and takes back later would else look as if the client had it all the time.
	if nonce != "" && nonce == w.nonce {
		w.settle(req.GetErrorDetail() == nil)
		delta.ResponseNonce, delta.ErrorDetail = nonce, req.GetErrorDetail()
	}
	delta.ResourceNamesSubscribe, delta.ResourceNamesUnsubscribe = w.want(req.GetResourceNames(), whole(url))
	if first {
		delta.InitialResourceVersions = seen(req.GetVersionInfo(), delta.ResourceNamesSubscribe)
	}
	return delta
}

// Send sends a reply. One that holds nothing for this protocol travels empty, so that the client acknowledges it.
func (s *sotw) Send(r *reply) error {
	return s.stream.Send(s.response(r))
}

func (s *sotw) response(r *reply) *discovery.DiscoveryResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.worlds[r.typeURL]
	list := w.compose(r)
	w.nonce = r.nonce
	msg := &discovery.DiscoveryResponse{
		TypeUrl: r.typeURL, Nonce: r.nonce, ControlPlane: &core.ControlPlane{Identifier: s.identifier},
	}
	sum := xxhash.New()
	for _, res := range list {
		msg.Resources = append(msg.Resources, res.Body)
		w.position = max(w.position, res.Position)
		_, _ = sum.WriteString(res.Name + "\x00")
		_, _ = sum.Write(binary.BigEndian.AppendUint64(nil, res.Hash))
	}
	// The same on every replica that sends the same, and never below the position of an earlier one (see seen).
	msg.VersionInfo = (&snapshot.Resource{Hash: sum.Sum64(), Position: w.position}).Version()
	return msg
}
