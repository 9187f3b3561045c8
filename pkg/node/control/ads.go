package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/enforce"
	"fairlead.io/fairlead/pkg/node/keeper"
)

// The types that are subscribed to.
const (
	WorkloadType = "type.googleapis.com/fairlead.node.v1.Workload"
	BundleType   = "type.googleapis.com/fairlead.node.v1.TrustBundle"
	// With Policy only.
	PeerType       = "type.googleapis.com/fairlead.node.v1.Peer"
	PeerSetType    = "type.googleapis.com/fairlead.node.v1.PeerSet"
	VerdictSetType = "type.googleapis.com/fairlead.node.v1.VerdictSet"
)

// UserAgent is what the agent calls itself.
const UserAgent = "fairlead-node"

// Sink takes what is learnt. A keeper.Keeper is one.
type Sink interface {
	Update(put []keeper.Pod, gone []string)
	SetBundles(*node.Bundles)
	Resume()
}

// Config is what a Client needs. Link, Node, TrustDomain and Sink are required.
type Config struct {
	Link *Link
	// Node is the node's name, Version that of the agent.
	Node, Version string
	TrustDomain   spiffeid.TrustDomain
	Sink          Sink
	// Policy is told what to enforce; nil asks for no policy.
	Policy Policy
	// Served waits until everything that is served here has the bundles that Sink was given last; its error names what has
	// not. nil is at once.
	Served func(context.Context) error
	// Patience bounds Served, and how long a VerdictSet waits for the PeerSets that it names. Default 20 s.
	Patience time.Duration
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Client holds the ADS stream.
type Client struct {
	cfg       Config
	connected prometheus.Gauge
	nacks     *prometheus.CounterVec

	// Only Run's goroutine touches what follows.
	versions map[string]map[string]string // by type and name: what is had
	bundles  map[string]*bundle
	told     bool // workloads have been answered once
	// whole says that all peers have been told since the start; heard is when the last ones were.
	whole bool
	heard time.Time

	mu    sync.Mutex // guards what follows
	state State
}

// State is where the stream stands.
type State struct {
	Connected bool      `json:"connected"`
	Server    string    `json:"server,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	// Synced is set when workloads, bundles and, with policy, peers have been answered once.
	Synced    bool `json:"synced"`
	Workloads int  `json:"workloads"`
	Bundles   int  `json:"bundles"`
	// With policy: how many of each are had.
	Peers       int    `json:"peers,omitempty"`
	PeerSets    int    `json:"peerSets,omitempty"`
	VerdictSets int    `json:"verdictSets,omitempty"`
	Error       string `json:"error,omitempty"` // why the last stream ended
	Refused     string `json:"refused,omitempty"`
}

// NewClient gives a Client that does nothing before Run.
func NewClient(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Served == nil {
		cfg.Served = func(context.Context) error { return nil }
	}
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
	}
	c := &Client{
		cfg: cfg, bundles: map[string]*bundle{}, versions: map[string]map[string]string{WorkloadType: {}, BundleType: {}, PeerType: {}, PeerSetType: {}, VerdictSetType: {}},
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_node_connected", Help: "1 while the stream to a control plane is up."}),
		nacks:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_node_nacks_total", Help: "Responses of the control plane that were refused."}, []string{"type"}),
	}
	if cfg.Registry != nil {
		cfg.Registry.MustRegister(c.connected, c.nacks)
	}
	return c
}

// State tells where the stream stands.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *Client) note(fn func(*State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(&c.state)
}

// Pauses between streams: doubled from the first to the longest, over whose whole length a cluster's agents are spread.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// Run keeps a stream until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	pause, tried := firstPause, 0
	for ctx.Err() == nil {
		answered, err := c.session(ctx)
		c.connected.Set(0)
		c.note(func(s *State) { s.Connected = false })
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errNewer):
			c.cfg.Log.Info("reconnecting with the node's new SVID")
			continue
		case answered:
			pause, tried = firstPause, 0
		}
		c.note(func(s *State) { s.Error = err.Error() })
		wait := rand.N(pause) + pause/8
		if tried++; tried >= len(c.cfg.Link.cfg.Servers) { // the others may be there
			pause = min(2*pause, lastPause)
		}
		c.cfg.Log.Warn("no stream to the control plane; what is known stays in use", "again in", wait.Round(time.Millisecond), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

var errNewer = errors.New("there is a newer credential")

// reply is the answer to a response.
type reply struct {
	typeURL, nonce string
	err            error
}

// session runs one stream, and tells whether it was answered.
func (c *Client) session(ctx context.Context) (answered bool, err error) {
	conn, err := c.cfg.Link.Use()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var waits sync.WaitGroup
	defer func() {
		cancel()
		waits.Wait()
		conn.Done(err)
	}()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return false, fmt.Errorf("server %s: %w", conn.Server, err)
	}
	wildcards := []string{BundleType, WorkloadType}
	if c.cfg.Policy != nil {
		wildcards = append(wildcards, PeerType)
	}
	for _, url := range wildcards {
		req := &discovery.DeltaDiscoveryRequest{
			Node:    &core.Node{Id: c.cfg.Node, UserAgentName: UserAgent, UserAgentVersionType: &core.Node_UserAgentVersion{UserAgentVersion: c.cfg.Version}},
			TypeUrl: url, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: c.had(url),
		}
		if stream.Send(req) != nil {
			break // Recv says why
		}
	}
	responses, failed := make(chan *discovery.DeltaDiscoveryResponse), make(chan error, 1)
	waits.Go(func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case responses <- r:
			case <-ctx.Done():
				return
			}
		}
	})
	replies := make(chan reply, 8)
	look := time.NewTicker(time.Second)
	defer look.Stop()
	var move <-chan time.Time
	on, send := names{}, func(req *discovery.DeltaDiscoveryRequest) { _ = stream.Send(req) } // when it fails, Recv says why
	var wanted <-chan struct{}
	if c.cfg.Policy != nil {
		wanted = c.subscribe(on, send)
	}
	for {
		select {
		case <-wanted:
			wanted = c.subscribe(on, send)
		case <-ctx.Done():
			return answered, ctx.Err()
		case err := <-failed:
			return answered, fmt.Errorf("server %s: %w", conn.Server, err)
		case r := <-responses:
			if !answered {
				answered = true
				c.up(conn)
			}
			c.take(ctx, &waits, r, replies)
		case a := <-replies:
			send(c.answer(a))
		case <-look.C:
			if c.cfg.Policy != nil {
				c.complete()
			}
			if move == nil && c.cfg.Link.Newer(conn) {
				move = time.After(rand.N(3 * time.Second)) // nodes that were made together have SVIDs of one age
			}
		case <-move:
			return answered, errNewer
		}
	}
}

// had is what the server need not send. Our own bundle is asked for each time: a server that has nothing new says nothing, and
// would not be known to be there.
func (c *Client) had(url string) map[string]string {
	out := maps.Clone(c.versions[url])
	if url == BundleType {
		delete(out, c.cfg.TrustDomain.Name())
	}
	return out
}

func (c *Client) up(conn *Conn) {
	c.connected.Set(1)
	c.note(func(s *State) { s.Connected, s.Server, s.Since, s.Error = true, conn.Server, time.Now(), "" })
	c.cfg.Log.Info("connected to the control plane", "server", conn.Server, "credential", conn.credential())
	c.cfg.Sink.Resume()
}

// credential names what the connection shows.
func (c *Conn) credential() string {
	if c.svid == nil {
		return "token"
	}
	return c.svid.ID.String()
}

// take takes in a response. Bundles are acknowledged when everything here has them, workloads at once.
func (c *Client) take(ctx context.Context, waits *sync.WaitGroup, r *discovery.DeltaDiscoveryResponse, replies chan<- reply) {
	a := reply{typeURL: r.GetTypeUrl(), nonce: r.GetNonce()}
	wait := func(context.Context) error { return nil }
	switch r.GetTypeUrl() {
	case WorkloadType:
		a.err = c.workloads(r)
	case BundleType:
		a.err = c.trust(r)
		wait = c.cfg.Served
	default:
		wait, a.err = c.takePolicy(r)
	}
	waits.Go(func() {
		bounded, cancel := context.WithTimeout(ctx, c.cfg.Patience)
		defer cancel()
		a.err = errors.Join(a.err, wait(bounded))
		select {
		case replies <- a:
		case <-ctx.Done():
		}
	})
}

// takePolicy takes in what is enforced. It is acknowledged when it is in the kernel.
func (c *Client) takePolicy(r *discovery.DeltaDiscoveryResponse) (wait func(context.Context) error, err error) {
	wait = func(context.Context) error { return nil }
	switch {
	case c.cfg.Policy != nil && r.GetTypeUrl() == PeerType:
		err = c.peers(r)
	case c.cfg.Policy != nil && r.GetTypeUrl() == PeerSetType:
		err = c.peerSets(r)
	case c.cfg.Policy != nil && r.GetTypeUrl() == VerdictSetType:
		wait, err = c.verdictSets(r)
	default:
		return wait, fmt.Errorf("nobody has asked for %s", r.GetTypeUrl())
	}
	c.note(func(s *State) {
		s.Peers, s.PeerSets, s.VerdictSets = len(c.versions[PeerType]), len(c.versions[PeerSetType]), len(c.versions[VerdictSetType])
		s.Synced = c.synced()
	})
	return wait, err
}

// synced tells whether everything was answered once.
func (c *Client) synced() bool {
	return c.told && len(c.bundles) > 0 && (c.cfg.Policy == nil || !c.heard.IsZero())
}

func (c *Client) answer(a reply) *discovery.DeltaDiscoveryRequest {
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: a.typeURL, ResponseNonce: a.nonce}
	refused := ""
	if a.err != nil {
		refused = a.err.Error()
		req.ErrorDetail = &rpc.Status{Code: int32(codes.InvalidArgument), Message: refused}
		c.nacks.WithLabelValues(label(a.typeURL)).Inc()
		c.cfg.Log.Warn("refused what the control plane sent", "type", a.typeURL, "error", a.err)
	}
	c.note(func(s *State) { s.Refused = refused })
	return req
}

// label bounds the values of a metric's label.
func label(typeURL string) string {
	switch typeURL {
	case WorkloadType:
		return "Workload"
	case BundleType:
		return "TrustBundle"
	case PeerType:
		return "Peer"
	case PeerSetType:
		return "PeerSet"
	case VerdictSetType:
		return "VerdictSet"
	}
	return "other"
}

// workloads takes in pods. Those that cannot be read are named in the error; the others count.
func (c *Client) workloads(r *discovery.DeltaDiscoveryResponse) error {
	var put []keeper.Pod
	var enforced []enforce.Workload
	var errs []error
	gone, free := r.GetRemovedResources(), slices.Clone(r.GetRemovedResources())
	for _, res := range r.GetResources() {
		w := &nodev1.Workload{}
		if err := res.GetResource().UnmarshalTo(w); err != nil {
			errs = append(errs, fmt.Errorf("workload %q: %w", res.GetName(), err))
			continue
		}
		pod, has, err := parsePod(res.GetName(), c.cfg.Node, w)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e, judged, err := parseWorkload(w)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if judged {
			enforced = append(enforced, e)
		} else {
			free = append(free, res.GetName())
		}
		c.versions[WorkloadType][res.GetName()] = res.GetVersion()
		if has {
			put = append(put, pod)
		} else {
			gone = append(gone, res.GetName())
		}
	}
	for _, name := range r.GetRemovedResources() {
		delete(c.versions[WorkloadType], name)
	}
	c.cfg.Sink.Update(put, gone)
	if c.cfg.Policy != nil {
		errs = append(errs, c.cfg.Policy.Workloads(enforced, free, !c.told))
	}
	c.told = true
	c.note(func(s *State) { s.Workloads, s.Synced = len(c.versions[WorkloadType]), c.synced() })
	return errors.Join(errs...)
}

// trust takes in bundles, as workloads does pods. That of our own trust domain is never given up.
func (c *Client) trust(r *discovery.DeltaDiscoveryResponse) error {
	var errs []error
	own, changed := c.cfg.TrustDomain, false
	for _, res := range r.GetResources() {
		if was, ok := c.versions[BundleType][res.GetName()]; ok && was == res.GetVersion() {
			continue
		}
		b := &nodev1.TrustBundle{}
		err := res.GetResource().UnmarshalTo(b)
		if err == nil {
			var read *bundle
			if read, err = parseBundle(res.GetName(), b); err == nil {
				c.bundles[res.GetName()] = read
				c.versions[BundleType][res.GetName()] = res.GetVersion()
				changed = true
				continue
			}
		}
		errs = append(errs, err)
	}
	for _, name := range r.GetRemovedResources() {
		if name == own.Name() {
			errs = append(errs, fmt.Errorf("trust bundle %s was removed; it is that of this node's own trust domain and stays", name))
			continue
		}
		delete(c.bundles, name)
		delete(c.versions[BundleType], name)
		changed = true
	}
	if all := join(own, c.bundles); all != nil && changed {
		c.cfg.Link.cfg.Trust.Receive(all.X509[own])
		c.cfg.Sink.SetBundles(all)
	}
	c.note(func(s *State) { s.Bundles, s.Synced = len(c.bundles), c.synced() })
	return errors.Join(errs...)
}
