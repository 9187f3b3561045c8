package keeper_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

// signer is a control plane in the test's own time.
type signer struct {
	*nodetest.Authority
	ttl time.Duration

	mu    sync.Mutex // guards what follows
	down  bool
	rng   *rand.Rand
	slow  time.Duration // up to
	fails float64       // of single certificates
	calls []call
	seen  map[spiffeid.ID]int
	keys  map[string]bool // by request: a key must not come twice
	alter func(*keeper.Result)
}

type call struct {
	at   time.Time
	size int
	good bool
}

func newSigner(t *testing.T, ttl time.Duration) *signer {
	return &signer{
		Authority: nodetest.NewAuthority(t), ttl: ttl, rng: rand.New(rand.NewPCG(1, 2)), seen: map[spiffeid.ID]int{}, keys: map[string]bool{},
	}
}

func (s *signer) set(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

func (s *signer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func (s *signer) SignX509(ctx context.Context, requests []keeper.Request) ([]keeper.Result, error) {
	s.mu.Lock()
	down, slow := s.down, time.Duration(0)
	if s.slow > 0 {
		slow = time.Duration(s.rng.Int64N(int64(s.slow)))
	}
	s.calls = append(s.calls, call{at: time.Now(), size: len(requests), good: !down})
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(slow):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if down || s.down { // it was away, or went away during the call
		return nil, status.Error(codes.Unavailable, "the server is away")
	}
	var out []keeper.Result
	for _, r := range requests {
		if s.keys[string(r.CSR)] {
			out = append(out, keeper.Result{Err: status.Error(codes.Internal, "a certificate request came twice")})
			continue
		}
		s.keys[string(r.CSR)] = true
		if s.rng.Float64() < s.fails {
			out = append(out, keeper.Result{Err: status.Error(codes.PermissionDenied, "not now")})
			continue
		}
		id := nodetest.Subject(r.Pod)
		s.seen[id]++
		r.TTL = s.ttl
		res := s.Result(id, r)
		if s.alter != nil {
			s.alter(&res)
		}
		out = append(out, res)
	}
	return out, nil
}

func (s *signer) SignJWT(_ context.Context, pod ca.PodRef, audience []string) (node.JWT, error) {
	token, expires, err := s.Authority.SignJWT(jwtTemplate(pod, audience))
	return node.JWT{ID: nodetest.Subject(&pod), Token: token, Expires: expires}, err
}

// rig is a Keeper that runs in a bubble.
type rig struct {
	*keeper.Keeper
	signer *signer
	jump   time.Duration // of the wall clock
	mu     sync.Mutex
}

func (r *rig) wall() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.jump)
}

func (r *rig) jumps(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jump += d
}

// run calls fn in a bubble with a Keeper of certificates that are valid for ttl.
func run(t *testing.T, ttl time.Duration, fn func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{signer: newSigner(t, ttl)}
		r.Keeper = keeper.New(keeper.Config{Signer: r.signer, TTL: ttl, Wall: r.wall, Registry: prometheus.NewPedanticRegistry()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		fn(t, r)
	})
}

// settle lets everything that needs no time happen.
func settle() {
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}
