// Package keeper keeps the SVIDs of a node: its own, and one for each identity of the pods that run here. It asks for them
// before anybody does, renews them long before they end, and never gives one that has ended.
//
//	control ─► keeper ─► {sds, workloadapi}
//
// Keys are made here, are in memory only, and are new for each certificate. See package node for the line.
package keeper

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/node"
)

// Request asks for one certificate.
type Request struct {
	CSR []byte // PKCS #10, DER
	// Pod is whom it is for; nil is the node itself.
	Pod *ca.PodRef
	// TTL is how long it should be valid; 0 leaves that to the server.
	TTL time.Duration
}

// Result is the answer to a Request.
type Result struct {
	ID spiffeid.ID
	// Chain is the certificate and its intermediates, leaf first, without a root.
	Chain []*x509.Certificate
	// Authority is the generation that signed.
	Authority string
	// Err is why there is no certificate; the others of the call may have one.
	Err error
}

// Signer has certificates and tokens signed by the control plane.
type Signer interface {
	// SignX509 gives one Result a Request, or an error when the call failed as a whole.
	SignX509(ctx context.Context, requests []Request) ([]Result, error)
	SignJWT(ctx context.Context, pod ca.PodRef, audience []string) (node.JWT, error)
}

// Pod is a pod that runs on this node.
type Pod struct {
	ca.PodRef
	ID spiffeid.ID
}

// Config is what a Keeper needs. Only Signer is required.
type Config struct {
	Signer Signer
	// TTL is what is asked for; 0 leaves it to the server.
	TTL time.Duration
	// Spread bounds how long the renewals after a change of the signing authority are spread over: default 2 minutes, and
	// never more than a tenth of an SVID's life.
	Spread time.Duration
	// Wall is the wall clock, which may jump; default time.Now.
	Wall     func() time.Time
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Keeper implements node.Identities. It is safe for concurrent use.
type Keeper struct {
	cfg     Config
	metrics *metrics
	wake    chan struct{} // of run
	calls   chan struct{} // a place for each call that may be under way

	mu      sync.Mutex // guards what follows
	pods    map[string]Pod
	entries map[spiffeid.ID]*entry
	node    *entry // the node's own
	bundles *node.Bundles
	// arrived is closed when a pod comes, verifies when the bundles are others, changed when anything is.
	arrived, verifies, changed chan struct{}
	// recent are the identities that were others of late, in their order, after as many that are forgotten.
	recent    []spiffeid.ID
	forgotten uint64
	// refused counts the calls that have failed as a whole since one did not; nothing is asked before paused ends.
	refused int
	paused  time.Time
}

var _ node.Identities = (*Keeper)(nil)

// New gives a Keeper that does nothing before Run.
func New(cfg Config) *Keeper {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Wall == nil {
		cfg.Wall = time.Now
	}
	if cfg.Spread == 0 {
		cfg.Spread = 2 * time.Minute
	}
	k := &Keeper{
		cfg: cfg, wake: make(chan struct{}, 1), calls: make(chan struct{}, maxCalls),
		pods: map[string]Pod{}, entries: map[spiffeid.ID]*entry{},
		arrived: make(chan struct{}), verifies: make(chan struct{}), changed: make(chan struct{}),
	}
	k.node = newEntry(spiffeid.ID{})
	k.metrics = newMetrics(cfg.Registry, k)
	return k
}

// Update takes in pods that run here, and the UIDs of those that do no more.
func (k *Keeper) Update(put []Pod, gone []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, uid := range gone {
		k.drop(uid)
	}
	for _, p := range put {
		if was, ok := k.pods[p.UID]; ok {
			if was == p {
				continue
			}
			k.drop(p.UID)
		}
		k.pods[p.UID] = p
		e := k.entries[p.ID]
		if e == nil {
			e = newEntry(p.ID)
			k.entries[p.ID] = e
		}
		e.pods = e.pods.with(p.PodRef)
		renew(&k.arrived)
		k.nudge() // nothing is served of it yet that was not before
	}
}

// drop forgets a pod, and with the last one of an identity its SVID.
func (k *Keeper) drop(uid string) {
	p, ok := k.pods[uid]
	if !ok {
		return
	}
	delete(k.pods, uid)
	e := k.entries[p.ID]
	if e.pods = e.pods.without(uid); len(e.pods) == 0 {
		delete(k.entries, p.ID)
		k.touch(e)
	}
	renew(&e.changed)
}

// SetBundles takes in what others are verified with. An SVID of another authority than the one that signs now is renewed
// soon.
func (k *Keeper) SetBundles(b *node.Bundles) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.bundles
	k.bundles = b
	if was == nil || was.Signing != b.Signing {
		for e := range k.all {
			k.hasten(e)
		}
	}
	for e := range k.all {
		renew(&e.changed)
	}
	renew(&k.verifies)
	k.touch(nil)
}

// Resume says that a server is there: what waits because calls have failed is tried again soon.
func (k *Keeper) Resume() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if soon := time.Now().Add(rand.N(resumeWithin)); soon.Before(k.paused) {
		k.paused = soon
	}
	k.nudge()
}

// X509 implements node.Identities.
func (k *Keeper) X509(uid string) (*node.SVID, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.pods[uid]
	if !ok {
		return nil, k.arrived, node.ErrUnknown
	}
	return k.serve(k.entries[p.ID])
}

// Node gives the node's own SVID as X509 gives a pod's.
func (k *Keeper) Node() (*node.SVID, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serve(k.node)
}

func (k *Keeper) serve(e *entry) (*node.SVID, <-chan struct{}, error) {
	if svid := e.valid(k.cfg.Wall()); svid != nil {
		return svid, e.changed, nil
	}
	return nil, e.changed, node.ErrPending
}

// Bundles implements node.Identities.
func (k *Keeper) Bundles() (*node.Bundles, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bundles == nil {
		return nil, k.verifies, node.ErrPending
	}
	return k.bundles, k.verifies, nil
}

// all calls fn for every entry, the node's first.
func (k *Keeper) all(fn func(*entry) bool) {
	if !fn(k.node) {
		return
	}
	for _, e := range k.entries {
		if !fn(e) {
			return
		}
	}
}

// touch says that an entry is another; nil for the bundles.
func (k *Keeper) touch(e *entry) {
	if e != nil && e != k.node {
		k.record(e.id)
	}
	renew(&k.changed)
	k.nudge()
}

// nudge has run look again.
func (k *Keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// renew closes a channel, and puts another in its place.
func renew(c *chan struct{}) {
	close(*c)
	*c = make(chan struct{})
}

var errKey = errors.New("the certificate is of another key")
