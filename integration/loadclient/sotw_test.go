package loadclient

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/snapshot"
)

// sotwServer is the smallest state-of-the-world server: it answers every request that is not an acknowledgement with what is
// asked for, and every update with what the client last asked for. It checks what the protocol demands of requests.
type sotwServer struct {
	t       *testing.T
	mu      sync.Mutex
	things  map[string]map[string]proto.Message // by type and name
	changed chan struct{}
	version int
	nacks   []string
}

func (s *sotwServer) update(put []proto.Message, typeURL string, del ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	for _, m := range put {
		url := "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
		if s.things[url] == nil {
			s.things[url] = map[string]proto.Message{}
		}
		s.things[url][nameOf(m)] = m
	}
	for _, name := range del {
		delete(s.things[typeURL], name)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// sotwType is one type of one stream.
type sotwType struct {
	names              []string
	nonce, accepted, v string
}

func (s *sotwServer) serve(st discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	in := make(chan *discovery.DiscoveryRequest)
	go func() {
		for q, err := st.Recv(); err == nil; q, err = st.Recv() {
			select {
			case in <- q:
			case <-st.Context().Done():
				return
			}
		}
	}()
	types := map[string]*sotwType{}
	nonce := 0
	answer := func(url string) error {
		s.mu.Lock()
		ty := types[url]
		nonce++
		ty.nonce, ty.v = fmt.Sprint(nonce), fmt.Sprint(s.version)
		m := &discovery.DiscoveryResponse{TypeUrl: url, Nonce: ty.nonce, VersionInfo: ty.v}
		for name, r := range s.things[url] {
			if len(ty.names) == 0 || slices.Contains(ty.names, name) {
				m.Resources = append(m.Resources, pack(s.t, r))
			}
		}
		s.mu.Unlock()
		return st.Send(m)
	}
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-st.Context().Done():
			return nil
		case <-changed:
			for _, url := range order {
				if types[url] != nil {
					if err := answer(url); err != nil {
						return err
					}
				}
			}
		case q := <-in:
			if (len(types) == 0) != (q.Node != nil) {
				s.t.Errorf("node in a request: %v", q)
			}
			ty := types[q.TypeUrl]
			fresh := ty == nil
			if fresh {
				ty = &sotwType{}
				types[q.TypeUrl] = ty
			}
			if ty.accepted != "" && q.VersionInfo == "" {
				s.t.Errorf("request without the version that the client has: %v", q)
			}
			if !fresh && q.ResponseNonce != ty.nonce {
				continue // it answers an older response
			}
			s.judge(ty, q, fresh)
			names := sorted(q.ResourceNames)
			if fresh || !slices.Equal(names, ty.names) {
				ty.names = names
				if err := answer(q.TypeUrl); err != nil {
					return err
				}
			}
		}
	}
}

// judge checks version_info: that of the last accepted response.
func (s *sotwServer) judge(ty *sotwType, q *discovery.DiscoveryRequest, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case fresh:
		if q.ResponseNonce != "" {
			s.t.Errorf("first request of a stream with a nonce: %v", q)
		}
	case q.ErrorDetail != nil:
		s.nacks = append(s.nacks, q.ErrorDetail.Message)
		if q.VersionInfo != ty.accepted {
			s.t.Errorf("refusal with version %q, the last accepted is %q", q.VersionInfo, ty.accepted)
		}
	case q.VersionInfo == ty.v:
		ty.accepted = ty.v
	case q.VersionInfo != ty.accepted:
		s.t.Errorf("version %q is neither the newest %q nor the last accepted %q", q.VersionInfo, ty.v, ty.accepted)
	}
}

func TestStateOfTheWorld(t *testing.T) {
	s := &sotwServer{t: t, things: map[string]map[string]proto.Message{}, changed: make(chan struct{})}
	s.update(world(t), "")
	address := serveFake(t, fake{sotw: s.serve})
	f := start(t, Config{Addresses: []string{address}, N: 2, SotW: true, Behave: func(i int) Behaviour {
		if i == 0 {
			return Behaviour{}
		}
		return Behaviour{Reject: func(r *Response) error {
			for _, u := range r.Updates {
				if strings.Contains(string(u.Body), "bad") {
					return fmt.Errorf("no %s", u.Name)
				}
			}
			return nil
		}}
	}})
	c, refuses := f.Clients()[0], f.Clients()[1]
	noHosts := all[:len(all)-1] // virtual host discovery is delta only
	has(t, c, noHosts...)
	has(t, refuses, noHosts...)

	s.update([]proto.Message{clusterOf("c3", "1"), listenerOf(t, "l1", "r1", "s2"), scopeOf("1.2.3.4:80", "unused")}, xds.ClusterType, "c1")
	want := []string{
		"Cluster c2", "Cluster c3", "ClusterLoadAssignment c2", "ClusterLoadAssignment c3", "Listener l1", "Secret s2",
		"ScopedRouteConfiguration 1.2.3.4:80", "RouteConfiguration r1", "RouteConfiguration unused",
	}
	has(t, c, want...)
	has(t, refuses, want...)
	same(t, f)

	s.update([]proto.Message{endpointsOf("c3", "bad")}, "")
	eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Contains(s.nacks, "no c3") {
			return fmt.Errorf("refusals %q", s.nacks)
		}
		return nil
	})
	same(t, f, c)
	if len(Diff(c, refuses)) != 1 {
		t.Errorf("differences %q, want that of c3", Diff(c, refuses))
	}
	was := c.Connects()
	c.Behave(Behaviour{Flap: 1})
	eventually(t, func() error {
		if c.Connects() == was {
			return fmt.Errorf("no new stream")
		}
		return nil
	})
	c.Behave(Behaviour{})
	s.update([]proto.Message{endpointsOf("c3", "2")}, "")
	same(t, f)
}

// Both protocols of the same server bring clients to the same state.
func TestStateOfTheWorldAndDeltaAgree(t *testing.T) {
	s := serve(t, world(t)...)
	sotw := start(t, Config{Addresses: []string{s.address}, N: 2, SotW: true})
	delta := start(t, Config{Addresses: []string{s.address}})
	types := order[:len(order)-1] // virtual host discovery is delta only
	agree := func() {
		t.Helper()
		if err := sotw.WaitEqual(patience(t), delta.Clients()[0], types); err != nil {
			t.Fatal(err)
		}
	}
	has(t, delta.Clients()[0], all...)
	agree()
	came := delta.Watch(Version(xds.EndpointType, "c3", ""))
	s.update([]proto.Message{
		clusterOf("c3", "1"), endpointsOf("c2", "2"), listenerOf(t, "l1", "r1", "s2"), scopeOf("1.2.3.4:80", "unused"), routesOf("unused", "2", false),
	}, snapshot.Key{Type: xds.ClusterType, Name: "c1"})
	if _, err := came.Wait(patience(t)); err != nil {
		t.Fatal(err)
	}
	agree()
	c := sotw.Clients()[0]
	was := c.Connects()
	c.Behave(Behaviour{Flap: 1, Forget: true})
	eventually(t, func() error {
		if c.Connects() == was {
			return fmt.Errorf("no new stream")
		}
		return nil
	})
	c.Behave(Behaviour{})
	agree()
}
