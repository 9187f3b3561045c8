package integration_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/integration/loadclient"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/snapshot"
	sourcekube "fairlead.io/fairlead/pkg/source/kube"
)

// replica is one of several servers that read the same cluster.
type replica struct {
	*server.Server
	t      *testing.T
	valve  *valve
	cancel context.CancelFunc
	ended  chan error
}

func newReplica(t *testing.T, c *cluster) *replica {
	t.Helper()
	v := &valve{held: map[string]chan struct{}{}, lists: map[string]int{}, dead: map[string]int{}}
	to := c.Config()
	to.Wrap(v.wrap)
	source, err := sourcekube.New(sourcekube.Config{REST: to})
	if err != nil {
		t.Fatal(err)
	}
	cfg := resolve.DefaultConfig()
	stub := webStub
	stub.Address = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Stubs = []resolve.Stub{stub}
	srv, err := server.New(server.Config{
		Mesh: cfg, Source: source, XDS: "127.0.0.1:0", Admin: "127.0.0.1:0", Version: "test", Drain: time.Second,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{Server: srv, t: t, valve: v, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- srv.Run(ctx) }()
	t.Cleanup(r.die)
	select {
	case <-srv.Flow().Source.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("the replica does not sync")
	}
	return r
}

// die ends the replica; its clients go elsewhere.
func (r *replica) die() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
}

func (r *replica) latest() snapshot.Snapshot { return r.Flow().Source.Latest() }

// valve stands between a replica and its API server: it can hold up the watches of some kinds, and counts the lists that
// compare a kind's metadata.
type valve struct {
	mu    sync.Mutex
	held  map[string]chan struct{} // by plural; closed to let go
	lists map[string]int
	// opened counts the watches; those of a kind up to dead have died without a word.
	opened int
	dead   map[string]int
}

func (v *valve) hold(plurals ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range plurals {
		v.held[p] = make(chan struct{})
	}
}

func (v *valve) release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for p, c := range v.held {
		close(c)
		delete(v.held, p)
	}
}

func (v *valve) compared(plural string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lists[plural]
}

// kill makes the present watches of a kind silent for ever.
func (v *valve) kill(plural string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dead[plural] = v.opened
}

// pass waits until a watch may be read; false when it is closed before.
func (v *valve) pass(b *heldBody) bool {
	v.mu.Lock()
	held := v.held[b.plural]
	if v.dead[b.plural] >= b.number {
		held = make(chan struct{})
	}
	v.mu.Unlock()
	if held == nil {
		return true
	}
	select {
	case <-held:
		return true
	case <-b.closed:
		return false
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (v *valve) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		plural, watches := path.Base(r.URL.Path), r.URL.Query().Get("watch") != ""
		if !watches && strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList") {
			v.mu.Lock()
			v.lists[plural]++
			v.mu.Unlock()
		}
		res, err := next.RoundTrip(r)
		if err == nil && watches {
			v.mu.Lock()
			v.opened++
			res.Body = &heldBody{ReadCloser: res.Body, valve: v, plural: plural, number: v.opened, closed: make(chan struct{})}
			v.mu.Unlock()
		}
		return res, err
	})
}

// heldBody is the stream of a watch: what has come while it is held is read when it is let go.
type heldBody struct {
	io.ReadCloser
	valve  *valve
	plural string
	number int
	once   sync.Once
	closed chan struct{}
}

func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.valve.pass(b) {
		return 0, io.ErrClosedPipe
	}
	return n, err
}

func (b *heldBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.ReadCloser.Close()
}

// travellers are clients that move from replica to replica, and never may see an older generation of anything, nor the
// removal of what was not deleted.
type travellers struct {
	*loadclient.Fleet
	t *testing.T

	mu      sync.Mutex
	has     map[string]int // generation by client and resource
	deleted map[string]bool
	came    []string // since the last look, of any client
	faults  []string
}

func newTravellers(t *testing.T, n int, over ...*replica) *travellers {
	t.Helper()
	f := &travellers{t: t, has: map[string]int{}, deleted: map[string]bool{}}
	cfg := loadclient.Config{N: n, OnUpdate: f.update, Backoff: 20 * time.Millisecond, MaxBackoff: 100 * time.Millisecond}
	for _, r := range over {
		cfg.Addresses = append(cfg.Addresses, r.XDS())
	}
	var err error
	if f.Fleet, err = loadclient.Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		for _, fault := range f.faults {
			t.Error(fault)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := f.Complete(ctx); err != nil {
		t.Fatal(err)
	}
	return f
}

var generationText = regexp.MustCompile(`gen-(\d+)`)

// generationOf is what the test wrote into a resource: a header's value, or the port of an endpoint; 0 for others.
func generationOf(u *loadclient.Update) int {
	switch u.Type {
	case xds.EndpointType:
		var a endpointv3.ClusterLoadAssignment
		if proto.Unmarshal(u.Body, &a) == nil && len(a.GetEndpoints()) > 0 {
			return int(a.GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress().GetPortValue())
		}
	case xds.RouteType:
		if m := generationText.FindSubmatch(u.Body); m != nil {
			n, _ := strconv.Atoi(string(m[1]))
			return n
		}
	}
	return 0
}

func (f *travellers) update(c *loadclient.Client, u *loadclient.Update) {
	if u.Removed && strings.HasSuffix(u.Name, "/") {
		return // the answer that a route table has no virtual hosts
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	what := path.Base(strings.ReplaceAll(u.Type, ".", "/")) + " " + u.Name
	key, sign := c.ID()+" "+what, "+"
	switch n := generationOf(u); {
	case u.Removed && !f.deleted[u.Name]:
		f.faults = append(f.faults, key+" was removed, and nobody deleted it")
	case !u.Removed && f.deleted[u.Name]:
		f.faults = append(f.faults, key+" came again after it was deleted")
	case !u.Removed && n < f.has[key]:
		f.faults = append(f.faults, fmt.Sprintf("%s went back from generation %d to %d", key, f.has[key], n))
	default:
		f.has[key] = n
	}
	if u.Removed {
		sign = "-"
	}
	f.came = append(f.came, sign+what)
}

// look gives what has come since the last look.
func (f *travellers) look() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	came := f.came
	f.came = nil
	return came
}

// gone says that names will be deleted.
func (f *travellers) gone(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		f.deleted[name] = true
	}
}

// reach waits until all clients have at least a generation of the resource of a type.
func (f *travellers) reach(what string, generation int) {
	f.t.Helper()
	mesh.Eventually(f.t, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, c := range f.Clients() {
			if n := f.has[c.ID()+" "+what]; n < generation {
				return fmt.Errorf("%s has generation %d of %s, not %d (its last stream: %v)", c.ID(), n, what, generation, c.Err())
			}
		}
		return nil
	})
}

// shown is the highest position of the versions that a client shows.
func (f *travellers) shown() (highest uint64) {
	for _, url := range []string{xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.RouteType, xds.ScopedRouteType, xds.VirtualHostType} {
		for r := range maps.Values(f.Clients()[0].Resources(url)) {
			_, position, _ := snapshot.ParseVersion(r.Version)
			highest = max(highest, position)
		}
	}
	return highest
}
