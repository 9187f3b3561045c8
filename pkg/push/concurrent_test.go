package push

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"

	"fairlead.io/fairlead/pkg/snapshot"
)

// wanderer is a client that answers late, refuses at random, and reconnects with what it has.
type wanderer struct {
	rand *rand.Rand
	node string
	has  map[string]map[string]string // versions by type and name
}

// wander lives through one stream, and goes away by itself after some responses unless stay is closed.
func (w *wanderer) wander(ctx context.Context, r *rig, stay <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := discovery.NewAggregatedDiscoveryServiceClient(r.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	first := &core.Node{Id: w.node, UserAgentName: "test"}
	for _, url := range []string{clusterType, endpointType, listenerType} {
		req := &discovery.DeltaDiscoveryRequest{Node: first, TypeUrl: url, InitialResourceVersions: maps.Clone(w.has[url])}
		if first = nil; url == endpointType {
			req.ResourceNamesSubscribe = worldNames(endpointType)
		}
		if s.Send(req) != nil {
			break
		}
	}
	for left := 5 + w.rand.IntN(20); ; left-- {
		m, err := s.Recv()
		if err != nil {
			return nil // cancelled, or the server has gone
		}
		select {
		case <-stay:
		default:
			if left == 0 {
				return nil
			}
			time.Sleep(time.Duration(w.rand.IntN(20)) * time.Millisecond)
		}
		ack := &discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}
		if len(m.Resources) > 0 && w.rand.IntN(10) == 0 {
			ack.ErrorDetail = &rpc.Status{Message: "not now"}
		} else {
			w.apply(m)
		}
		if s.Send(ack) != nil {
			return nil
		}
	}
}

func (w *wanderer) apply(m *discovery.DeltaDiscoveryResponse) {
	if w.has[m.TypeUrl] == nil {
		w.has[m.TypeUrl] = map[string]string{}
	}
	for _, r := range m.Resources {
		w.has[m.TypeUrl][r.Name] = r.Version
	}
	for _, n := range m.RemovedResources {
		delete(w.has[m.TypeUrl], n)
	}
}

func worldNames(url string) (names []string) {
	for i := range 20 {
		names = append(names, fmt.Sprintf("%s-%d", short(url), i))
	}
	return names
}

// Whatever clients do while the world changes, all end at what is there: late answers, refusals and reconnects with
// versions lose nothing and invent nothing.
func TestAllEndAtTheSameStateUnderConcurrency(t *testing.T) {
	for seed := range uint64(10) {
		bubble(t, Config{RetryMin: 50 * time.Millisecond, RetryMax: 100 * time.Millisecond, Admitted: 3}, func(t *testing.T, r *rig) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			r.src.Update(1, nil)
			stay, done := make(chan struct{}), make(chan struct{})
			ctx, cancel := context.WithCancel(context.Background())
			var clients sync.WaitGroup
			var all []*wanderer
			for i := range 8 {
				w := &wanderer{rand: rand.New(rand.NewPCG(seed, uint64(i)+2)), node: fmt.Sprint("n", i), has: map[string]map[string]string{}}
				all = append(all, w)
				clients.Go(func() {
					for ctx.Err() == nil {
						if err := w.wander(ctx, r, stay); err != nil && ctx.Err() == nil {
							t.Error(err)
							return
						}
					}
				})
			}
			go func() {
				defer close(done)
				for i := range 200 {
					turnWorld(t, r, rnd, uint64(i+2))
					time.Sleep(time.Duration(rnd.IntN(10)) * time.Millisecond)
				}
			}()
			<-done
			close(stay)
			time.Sleep(time.Minute) // virtual: every quarantined resource has been tried again often enough
			synctest.Wait()
			cancel()
			clients.Wait()
			want := r.served()
			for _, w := range all {
				for url := range want {
					if got := w.has[url]; !maps.Equal(got, want[url]) {
						t.Fatalf("seed %d: %s has of %s %v, want %v", seed, w.node, short(url), sortedText(got), sortedText(want[url]))
					}
				}
			}
		})
	}
}

// turnWorld changes, adds or removes some resources.
func turnWorld(t *testing.T, r *rig, rnd *rand.Rand, position uint64) {
	var put []*snapshot.Resource
	var del []snapshot.Key
	for _, url := range []string{clusterType, endpointType, listenerType} {
		for _, name := range worldNames(url) {
			switch rnd.IntN(30) {
			case 0, 1:
				put = append(put, res(t, url, name, fmt.Sprint(position), position))
			case 2:
				del = append(del, key(url, name))
			}
		}
	}
	r.src.Update(position, put, del...)
}

// served is what is there, as versions by type and name.
func (r *rig) served() map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, url := range []string{clusterType, endpointType, listenerType} {
		out[url] = map[string]string{}
		r.src.Latest().Range(url, func(x *snapshot.Resource) bool {
			out[url][x.Name] = x.Version()
			return true
		})
	}
	return out
}

func sortedText(m map[string]string) []string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}
