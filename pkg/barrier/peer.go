package barrier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	barrierv1 "fairlead.io/fairlead/api/barrier/v1"
)

// maxBackoff is the longest pause between two tries to reach a peer.
const maxBackoff = 2 * time.Second

// errSelf is why nobody follows its own address.
var errSelf = errors.New("it is this replica")

// peer is an address where another replica may be. Barrier.mu guards it.
type peer struct {
	address string
	static  bool
	stop    context.CancelFunc
	// since is when it was first tried, or last heard.
	since time.Time
	// replica is who was found there; nil until it has told everything. Other than nil it also holds by being lost.
	replica *replica
	self    bool
	up      bool // its stream is alive and whole
	given   bool // it has been waited for long enough
	retired bool // no longer listed: not tried again once it is lost
}

func newPeer(address string, static bool) *peer { return &peer{address: address, static: static} }

// holds tells whether a replica may be there that nothing is known of.
func (p *peer) holds() bool { return p.replica == nil && !p.self && !p.given && !p.retired }

// SetPeers replaces the addresses that are followed beside those of Config.Peers. One that is not listed any more is followed
// as long as it answers.
func (b *Barrier) SetPeers(addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	b.dirty = b.dirty || b.looks <= b.asked.looks+2
	listed := map[string]bool{}
	for _, address := range addresses {
		listed[address] = true
		if p := b.peers[address]; p != nil {
			p.retired = false
			continue
		}
		p := newPeer(address, false)
		p.since = time.Now()
		b.peers[address] = p
		if b.starter != nil {
			b.starter(p)
		}
	}
	for address, p := range b.peers {
		if p.static || listed[address] {
			continue
		}
		if p.retired = true; !p.up {
			b.drop(p)
		}
	}
	b.settle(time.Now())
}

// drop ends the following of an address. What was known of the replica ends with its grace.
func (b *Barrier) drop(p *peer) {
	delete(b.peers, p.address)
	if p.stop != nil {
		p.stop()
	}
	b.touchAll()
}

// follow keeps a stream to one peer until ctx ends.
func (b *Barrier) follow(ctx context.Context, p *peer) {
	conn, err := dial(p.address, b.cfg.Dial)
	if err != nil {
		b.log.Error("cannot follow a replica", "address", p.address, "error", err)
		return
	}
	defer conn.Close()
	for wait := 50 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, maxBackoff) {
		start := time.Now()
		err := b.listen(ctx, conn, p)
		if errors.Is(err, errSelf) {
			return
		}
		if ctx.Err() == nil && b.lose(p, err) {
			return
		}
		if time.Since(start) > 10*maxBackoff {
			wait = 50 * time.Millisecond
		}
		pause(ctx, wait)
	}
}

// dial is plaintext unless the options have credentials: then an address leads nowhere but to this machine (server.ParseAddress).
func dial(address string, more []grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
	}, more...)...)
}

// listen takes in what a peer tells until its stream ends.
func (b *Barrier) listen(ctx context.Context, conn *grpc.ClientConn, p *peer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := barrierv1.NewBarrierClient(conn).Follow(ctx, &barrierv1.FollowRequest{Replica: b.cfg.Name})
	if err != nil {
		return err
	}
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	if m.GetReplica() == b.cfg.Name {
		b.mu.Lock()
		defer b.mu.Unlock()
		p.self = true
		b.touchAll()
		b.settle(time.Now())
		return errSelf
	}
	r := newReplica(m.GetReplica(), m.GetBuild())
	for whole := false; ; {
		if whole {
			b.mu.Lock()
			b.apply(r, m)
			b.settle(time.Now())
			b.mu.Unlock()
		} else {
			r.fill(m)
			if whole = m.GetWhole(); whole {
				if err := b.join(p, r); err != nil {
					return err
				}
			}
		}
		if m, err = stream.Recv(); err != nil {
			return err
		}
	}
}

// fill takes in a part of what a peer tells at first.
func (r *replica) fill(m *barrierv1.Summary) {
	for _, o := range m.GetObjects() {
		r.set(rowOf(o))
	}
	for _, c := range m.GetClients() {
		if !c.GetGone() {
			r.clients[c.GetId()] = streamOf(c)
		}
	}
}

// join lets a replica that has told everything take part. What it was before its stream broke is replaced; its clients of
// that time that it has no longer are gone.
func (b *Barrier) join(p *peer, r *replica) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peers[p.address] != p {
		return context.Canceled
	}
	if old := b.replicas[r.name]; old != nil {
		if old.lost.IsZero() {
			p.given = true
			b.settle(time.Now())
			return fmt.Errorf("replica %s is followed at another address already", r.name)
		}
		for id, c := range old.clients {
			if r.clients[id] == nil {
				c.gone = cmp.Or(c.gone, old.lost)
				r.clients[id] = c
			}
		}
	}
	b.replicas[r.name] = r
	p.replica, p.up, p.given = r, true, false
	b.log.Info("follow a replica", "replica", r.name, "address", p.address, "objects", len(r.rows), "clients", len(r.clients))
	b.touchAll()
	b.settle(time.Now())
	return nil
}

// apply takes in what has changed at a peer.
func (b *Barrier) apply(r *replica, m *barrierv1.Summary) {
	for _, o := range m.GetObjects() {
		ref := refOf(o)
		b.touch(ref)
		if o.GetGone() {
			delete(r.rows, ref)
		} else {
			r.set(rowOf(o))
		}
	}
	for _, c := range m.GetClients() {
		b.dirty = true
		switch was := r.clients[c.GetId()]; {
		case !c.GetGone():
			r.clients[c.GetId()] = streamOf(c)
		case was != nil && was.gone.IsZero():
			r.clients[c.GetId()] = &client{Client: was.Client, gone: time.Now()}
		}
	}
}

// lose notes that a peer's stream has ended, and tells whether to give it up.
func (b *Barrier) lose(p *peer, err error) (end bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.settle(time.Now()) }()
	if p.up {
		p.up, p.since = false, time.Now()
		p.replica.lost, p.replica.left = p.since, status.Code(err) == codes.Aborted
		b.log.Info("a replica has gone", "replica", p.replica.name, "address", p.address, "error", err)
		p.replica, p.given = nil, true // it holds by being lost
		b.touchAll()
	}
	if p.retired && b.peers[p.address] == p {
		b.drop(p)
		return true
	}
	return false
}
