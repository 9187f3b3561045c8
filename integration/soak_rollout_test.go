package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/mesh"
)

// rollout replaces the backends of a Service one after the other, as a Deployment does, under constant requests through
// an Envoy: over a Gateway and over the mesh. No request may fail.
type rollout struct {
	t       *testing.T
	c       *cluster
	m       *mesh.Mesh
	address netip.Addr
	live    []*rollBackend
	made    int
	stop    chan struct{}
	asking  sync.WaitGroup
	// asked counts the requests that each client has completed.
	asked [4]atomic.Int64

	mu       sync.Mutex // guards what follows
	failures []string
}

// rollBackend is one pod.
type rollBackend struct {
	name   string
	at     netip.AddrPort
	server *http.Server
	done   chan struct{}
	conns  atomic.Int64
}

const rollService = "apiVersion: v1\nkind: Service\nmetadata: {name: roll, namespace: default}\nspec:\n  ports: [{name: http, port: 80}]\n"

// newRollout makes the Service with three backends, a Gateway and a route to it.
func newRollout(t *testing.T, c *cluster, address netip.Addr) *rollout {
	t.Helper()
	r := &rollout{t: t, c: c, address: address, stop: make(chan struct{})}
	c.apply(gatewayYAML("- {name: http, port: 80, protocol: HTTP}") + "\n---\n" + rollService +
		routeYAML("roll", "roll.test", "- backendRefs: [{name: roll, port: 80}]"))
	t.Cleanup(func() {
		for _, b := range r.live {
			_ = b.server.Close()
			<-b.done
		}
	})
	for range 3 {
		if err := r.add(); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// begin asks as soon as the Envoy answers.
func (r *rollout) begin(m *mesh.Mesh) {
	r.m = m
	edge := mesh.Request{Host: "roll.test"}
	inside := mesh.Request{To: m.Stub.String(), Host: "roll.default"}
	m.WaitStatus(r.t, edge, http.StatusOK)
	m.WaitStatus(r.t, inside, http.StatusOK)
	for i := range r.asked {
		to, host := netip.AddrPortFrom(m.Address, 80).String(), edge.Host
		if i%2 == 1 {
			to, host = inside.To, inside.Host
		}
		r.asking.Go(func() { r.ask(i, to, host) })
	}
	r.t.Cleanup(func() { r.end() })
}

// ask sends requests on one connection. They are such that Go's client does not try again by itself.
func (r *rollout) ask(i int, to, host string) {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := post(ctx, tr, to, host); err != nil {
			r.mu.Lock()
			r.failures = append(r.failures, fmt.Sprintf("%s request %d to %s: %v", time.Now().Format(time.StampMilli), r.asked[i].Load(), host, err))
			r.mu.Unlock()
		}
		cancel()
		r.asked[i].Add(1)
	}
}

func post(ctx context.Context, tr *http.Transport, to, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+to+"/", io.NopCloser(bytes.NewReader([]byte("x"))))
	if err != nil {
		return err
	}
	req.Host, req.ContentLength = host, 1
	res, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, body)
	}
	return nil
}

// end stops asking, reports failures, and gives the number of requests and of backends that were replaced.
func (r *rollout) end() (requests int64, replaced int) {
	r.t.Helper()
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.asking.Wait()
	for i := range r.asked {
		requests += r.asked[i].Load()
	}
	r.report()
	if replaced = r.made - len(r.live); replaced < 1 {
		r.t.Error("no backend was replaced")
	}
	return requests, replaced
}

func (r *rollout) report() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, f := range r.failures {
		if i == 10 {
			r.t.Errorf("… and %d more failed requests", len(r.failures)-i)
			break
		}
		r.t.Error(f)
	}
	r.failures = nil
}

// roll replaces the oldest backend again and again until ctx ends.
func (r *rollout) roll(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.add(); err != nil {
			return err
		}
		if err := r.remove(r.live[0]); err != nil {
			return err
		}
		r.live = r.live[1:]
	}
	return nil
}

// add starts a backend, and makes it an endpoint when it answers.
func (r *rollout) add() error {
	lis, err := net.Listen("tcp", netip.AddrPortFrom(r.address, 0).String())
	if err != nil {
		return err
	}
	r.made++
	b := &rollBackend{name: fmt.Sprintf("roll-%d", r.made), at: netip.MustParseAddrPort(lis.Addr().String()), done: make(chan struct{})}
	b.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			time.Sleep(2 * time.Millisecond) // so that there are requests under way at any time
			_, _ = io.WriteString(w, b.name)
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				b.conns.Add(1)
			case http.StateClosed:
				b.conns.Add(-1)
			}
		},
	}
	go func() { defer close(b.done); _ = b.server.Serve(lis) }()
	r.live = append(r.live, b)
	tr := &http.Transport{DisableKeepAlives: true}
	if err := post(r.t.Context(), tr, b.at.String(), "probe"); err != nil {
		return fmt.Errorf("probe %s: %w", b.name, err)
	}
	r.c.apply(b.slice("{ready: true}"))
	if r.m == nil {
		return nil
	}
	return r.until(b.name+" is in the Envoy", func() bool { return r.routed(b) })
}

// remove takes a backend out as Kubernetes does: it terminates, is no endpoint any more, lets go of its connections, ends.
func (r *rollout) remove(b *rollBackend) error {
	r.c.apply(b.slice("{ready: false, serving: true, terminating: true}"))
	r.c.delete(b.slice("{}"))
	if err := r.until(b.name+" is no longer in the Envoy", func() bool { return !r.routed(b) }); err != nil {
		return err
	}
	// The Envoy's main thread has told its worker: what a client asks from now on goes elsewhere, from its second request at
	// the latest.
	var seen [len(r.asked)]int64
	for i := range seen {
		seen[i] = r.asked[i].Load()
	}
	if err := r.until("requests go elsewhere", func() bool {
		for i := range seen {
			if r.asked[i].Load() < seen[i]+3 {
				return false
			}
		}
		return true
	}); err != nil {
		return err
	}
	if err := r.until("the Envoy closes its connections to "+b.name, func() bool { return b.conns.Load() == 0 }); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), mesh.Patience)
	defer cancel()
	err := b.server.Shutdown(ctx)
	<-b.done
	return err
}

// slice is the backend's EndpointSlice: each has a port of its own.
func (b *rollBackend) slice(conditions string) string {
	return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %s, namespace: default, labels: {kubernetes.io/service-name: roll}}\n"+
		"addressType: IPv4\nports: [{name: http, port: %d}]\nendpoints: [{addresses: [%s], conditions: %s}]\n", b.name, b.at.Port(), b.at.Addr(), conditions)
}

// routed tells whether the Envoy has a backend among its endpoints.
func (r *rollout) routed(b *rollBackend) bool {
	page, err := r.m.Envoys[0].AdminGet("/config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex=svc/default/roll.*")
	if err != nil {
		r.t.Log(err)
		return true
	}
	return strings.Contains(string(page), fmt.Sprintf("\"port_value\": %d\n", b.at.Port()))
}

func (r *rollout) until(what string, ok func() bool) error {
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			return fmt.Errorf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}
