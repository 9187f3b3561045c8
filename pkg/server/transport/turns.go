package transport

import (
	"crypto/tls"
	"errors"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// turns let as many handshakes be computed at once as there are processors, in the order in which their clients have spoken.
// When thousands come at once, the first are through after milliseconds, where all together would come to their time limit
// at one moment, and begin again.
type turns struct{ free *semaphore.Weighted }

func newTurns() *turns { return &turns{semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))} }

// turn is that of one connection: from its client's first message until more is read of it, so that nobody can hold a
// turn by being silent.
type turn struct {
	holds atomic.Pointer[semaphore.Weighted]
}

// end gives a turn back, once.
func (t *turn) end() {
	if t.holds.Load() == nil {
		return
	}
	if free := t.holds.Swap(nil); free != nil {
		free.Release(1)
	}
}

var errGone = errors.New("the connection was closed before its turn")

// apply makes the handshakes of a configuration wait for their turns.
func (t *turns) apply(c *tls.Config) *tls.Config {
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c, ok := hello.Conn.(*conn); ok {
			if t.free.Acquire(c.gone, 1) != nil {
				return nil, errGone
			}
			c.turn.holds.Store(t.free)
		}
		return nil, nil //nolint:nilnil // that is: this same configuration
	}
	return c
}
