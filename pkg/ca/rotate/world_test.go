package rotate

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/model"
)

var domain = spiffeid.RequireTrustDomainFromString("cluster.local")

// The times of the tests.
const (
	longest = 24 * time.Hour
	life    = 30 * 24 * time.Hour
	offset  = 2 * time.Minute // by which the clocks of replicas differ at most, one way
)

// world is a mesh: replicas that share a Store, and nodes that have what a replica has shown them.
type world struct {
	now      time.Time
	store    authority.Store
	roster   *memoryRoster
	replicas []*peer
	nodes    map[string]*member
	certs    []cert
	made     int
}

// peer is one replica.
type peer struct {
	w       *world
	name    string
	skew    time.Duration
	up      bool
	leads   bool
	view    authority.State
	machine *Machine
	met     map[string]time.Time // nodes that it has seen connected anywhere since its start
	changed chan struct{}
}

// member is a node's agent.
type member struct {
	name string
	at   *peer // nil while it is away
	left time.Time
	// trusts and has are what it was shown last, acked what it acknowledged on this connection.
	trusts map[string]bool
	acked  uint64
	// counts is set while the rotation answers for it: from its first acknowledgement until it has been away for too long, or
	// an operator has given it up.
	counts bool
}

type cert struct {
	generation string
	ends       time.Time
}

type memoryRoster struct {
	mu   sync.Mutex
	list []Present
}

func (r *memoryRoster) Update(_ context.Context, fn func([]Present) []Present) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.Clone(fn(slices.Clone(r.list)))
	return nil
}

func newWorld(replicas int) *world {
	w := &world{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), store: store.NewMemory(), roster: &memoryRoster{}, nodes: map[string]*member{}}
	g := w.generate(authority.Generated)
	if _, err := w.store.Save(context.Background(), authority.State{Sequence: 1, Generations: []authority.Generation{g}, Signing: g.ID}, ""); err != nil {
		panic(err)
	}
	for i := range replicas {
		p := &peer{w: w, name: fmt.Sprintf("r%d", i), skew: time.Duration(i-1) * offset, leads: i == 0}
		w.replicas = append(w.replicas, p)
		p.start()
	}
	return w
}

// generate makes an authority; nothing looks at its keys here.
func (w *world) generate(source string) authority.Generation {
	w.made++
	id := fmt.Sprintf("g%d", w.made)
	c := &x509.Certificate{Raw: []byte(id), Subject: pkix.Name{CommonName: id}, NotBefore: w.now, NotAfter: w.now.Add(life)}
	return authority.Generation{
		ID: id, Issuer: c, Roots: []*x509.Certificate{c}, Key: ed25519.PrivateKey(make([]byte, ed25519.PrivateKeySize)), Source: source, Created: w.now,
	}
}

var _ crypto.Signer = ed25519.PrivateKey{}

func (p *peer) start() {
	p.up, p.met, p.changed = true, map[string]time.Time{}, make(chan struct{})
	p.follow()
	p.machine = New(Config{
		Authority: p, Barrier: p, TrustDomain: domain, LongestTTL: longest, Roster: p.w.roster,
		Leads:    func() bool { return p.leads && p.up },
		Generate: func(time.Time) (authority.Generation, error) { return p.w.generate(authority.Generated), nil },
		Now:      p.clock,
	})
	p.machine.recallFirst(context.Background())
}

func (p *peer) stop() {
	p.up = false
	for _, n := range p.w.nodes {
		if n.at == p {
			n.leave(p.w.now)
		}
	}
}

func (p *peer) clock() time.Time { return p.w.now.Add(p.skew) }

// follow reads the Store.
func (p *peer) follow() {
	s, _, err := p.w.store.Load(context.Background())
	if err != nil {
		panic(err)
	}
	p.view = s
}

// State, Changed and Update implement Authority.
func (p *peer) State() authority.State { return p.view }

func (p *peer) Changed() <-chan struct{} { return p.changed }

func (p *peer) Update(ctx context.Context, fn func(authority.State) (authority.State, error)) (authority.State, error) {
	s, v, err := p.w.store.Load(ctx)
	if err != nil {
		return s, err
	}
	next, err := fn(s.Clone())
	if err != nil {
		return s, err
	}
	if _, err := p.w.store.Save(ctx, next, v); err != nil {
		return s, err
	}
	p.view = next
	return next, nil
}

// Census implements Barrier, as the real one would.
func (p *peer) Census(_ []model.Ref, generation int64) barrier.Census {
	c := barrier.Census{Known: p.view.Sequence >= uint64(generation)}
	for _, o := range p.w.replicas {
		if o.up && o.view.Sequence < uint64(generation) {
			c.Replicas = append(c.Replicas, o.name+" has not read it yet")
		}
	}
	for _, n := range p.w.nodes {
		if n.at != nil {
			p.met[n.name] = p.clock()
			c.Clients = append(c.Clients, barrier.Acknowledged{Node: n.name, Agent: true, Connected: true, Through: n.acked >= uint64(generation)})
		} else if _, ok := p.met[n.name]; ok {
			c.Absent = append(c.Absent, barrier.Absent{Node: n.name, Agent: true, Since: n.left})
		}
	}
	return c
}

// sign lets a replica sign something with whatever it has.
func (p *peer) sign(ttl time.Duration) {
	p.w.certs = append(p.w.certs, cert{p.view.Signing, p.clock().Add(ttl)})
}

func (n *member) leave(now time.Time) {
	if n.at != nil {
		n.at, n.left, n.acked = nil, now, 0
	}
}

// shown gives a node what its replica has.
func (n *member) shown() {
	n.trusts = map[string]bool{}
	for _, g := range n.at.view.Generations {
		n.trusts[g.ID] = true
	}
	n.acked, n.counts = n.at.view.Sequence, true
}

// pass lets time go by. Replicas that run look who is there now and then, whatever else they do.
func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= min(d, 10*time.Minute) {
		w.tick(min(d, 10*time.Minute))
	}
}

func (w *world) tick(d time.Duration) {
	for _, p := range w.replicas {
		if p.up {
			census := p.Census(nil, 0)
			p.machine.seen.look(&census, p.clock())
			if err := p.machine.remember(context.Background(), p.clock(), false); err != nil {
				panic(err)
			}
		}
	}
	w.now = w.now.Add(d)
	for _, n := range w.nodes {
		if n.at == nil && w.now.Sub(n.left) >= time.Hour-reread-4*offset {
			n.counts = false
		}
	}
	w.certs = slices.DeleteFunc(w.certs, func(c cert) bool { return !c.ends.After(w.now) })
}

// giveUp notes whom operators have given up.
func (w *world) giveUp() {
	s, _, _ := w.store.Load(context.Background())
	for _, name := range s.Rotation.Without {
		if n := w.nodes[name]; n != nil {
			n.counts = false
		}
	}
}

// check holds what must never break.
func (w *world) check() error {
	w.giveUp()
	s, _, err := w.store.Load(context.Background())
	if err != nil {
		return err
	}
	for _, c := range w.certs {
		if generation(&s, c.generation) == nil {
			return fmt.Errorf("authority %s is not trusted any more (%+v), and a certificate of it is valid until %s, now %s", c.generation, ids(&s), c.ends, w.now)
		}
	}
	signing := map[string]bool{s.Signing: true}
	for _, p := range w.replicas {
		if p.up {
			signing[p.view.Signing] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		n := w.nodes[name]
		for id := range signing {
			if n.counts && !n.trusts[id] {
				return fmt.Errorf("authority %s signs, and node %s trusts %v only (stage %s)", id, name, n.trusts, title(s.Rotation.Stage))
			}
		}
	}
	if generation(&s, s.Signing) == nil {
		return errors.New("who signs is not trusted")
	}
	return nil
}

func ids(s *authority.State) (out []string) {
	for _, g := range s.Generations {
		out = append(out, g.ID)
	}
	return out
}

type spiffeTD = spiffeid.TrustDomain

var alias = spiffeid.RequireTrustDomainFromString("old.test")
