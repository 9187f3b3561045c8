package loadclient

import (
	"fmt"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// handle takes in one response. An error ends the stream: the server broke the protocol.
func (c *Client) handle(b []byte, at time.Time) error {
	sotw := c.fleet.cfg.SotW
	r, err := cut(b, sotw)
	if err != nil {
		return err
	}
	recs := make([]*record, len(r.resources))
	for i, raw := range r.resources {
		if recs[i], err = c.fleet.records.find(r.typeURL, raw, sotw); err != nil {
			return err
		}
	}
	refused := c.tell(r, recs, at)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sets[r.typeURL]
	if s == nil || !s.asked {
		return fmt.Errorf("a response of type %s, which was not asked for", r.typeURL)
	}
	c.now, s.nonce = at, r.nonce
	s.add(Counts{Messages: 1, Bytes: uint64(r.size), Resources: uint64(len(recs)), Removals: uint64(len(r.removed))})
	s.come("")
	if refused != nil {
		s.Rejected++
		for _, rec := range recs {
			s.come(rec.name)
		}
	} else {
		s.version = r.version
		c.apply(s, r, recs)
	}
	if refused == nil && r.typeURL == xds.ClusterType && c.warm && c.waits(xds.EndpointType, xds.SecretType) {
		c.heldACKs = append(c.heldACKs, r.nonce)
	} else {
		c.acknowledge(s, r.nonce, refused)
	}
	c.settle()
	return nil
}

// apply takes in what was accepted.
func (c *Client) apply(s *set, r *response, recs []*record) {
	if len(s.held) == 0 {
		s.held = make(map[string]*record, len(recs))
	}
	for _, rec := range recs {
		c.take(s, rec)
	}
	for _, name := range r.removed {
		s.come(name)
		c.lose(s, name)
	}
	// State of the world: these types come as a whole, what is not there is gone.
	if c.fleet.cfg.SotW && s.refs[""] > 0 {
		there := make(map[string]struct{}, len(recs))
		for _, rec := range recs {
			there[rec.name] = struct{}{}
		}
		for name := range s.held {
			if _, ok := there[name]; !ok {
				c.lose(s, name)
			}
		}
	}
}

// subscribe asks for added names and gives removed ones up. The first request of a type on a stream names all of them.
func (c *Client) subscribe(s *set, added, removed []string, first bool) {
	if c.fleet.cfg.SotW {
		c.sendSotW(s, s.version, nil)
		return
	}
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: s.url, ResourceNamesUnsubscribe: wild(removed)}
	if !first || len(added) != 1 || added[0] != "" { // a first request that names nothing means all
		req.ResourceNamesSubscribe = wild(added)
	}
	if first && len(s.held) > 0 {
		req.InitialResourceVersions = make(map[string]string, len(s.held))
		for name, rec := range s.held {
			req.InitialResourceVersions[name] = rec.version
		}
	}
	c.send(req)
}

// wild writes the empty name, which is all, in the protocol's way.
func wild(names []string) []string {
	for i, name := range names {
		if name == "" {
			names[i] = "*"
		}
	}
	return names
}

// acknowledge accepts a response, or refuses it with an error's words.
func (c *Client) acknowledge(s *set, nonce string, refused error) {
	var detail *rpc.Status
	if refused != nil {
		detail = &rpc.Status{Code: int32(codes.Internal), Message: refused.Error()}
	}
	if c.fleet.cfg.SotW {
		c.sendSotW(s, s.version, detail)
		return
	}
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: s.url, ResponseNonce: nonce, ErrorDetail: detail})
}

// sendSotW names everything in every request, with the last accepted version and the last nonce.
func (c *Client) sendSotW(s *set, version string, detail *rpc.Status) {
	req := &discovery.DiscoveryRequest{TypeUrl: s.url, VersionInfo: version, ResponseNonce: s.nonce, ErrorDetail: detail}
	for name := range s.refs {
		if name != "" {
			req.ResourceNames = append(req.ResourceNames, name)
		}
	}
	c.send(req)
}

// send writes a request; the first one of a stream carries the node. Between streams nothing is sent: the next one begins
// with all. What fails ends the stream, and its reader learns why.
func (c *Client) send(req any) {
	if c.stream == nil {
		return
	}
	if !c.named {
		c.named = true
		switch r := req.(type) {
		case *discovery.DeltaDiscoveryRequest:
			r.Node = c.node
		case *discovery.DiscoveryRequest:
			r.Node = c.node
		}
	}
	_ = c.stream.SendMsg(req)
}
