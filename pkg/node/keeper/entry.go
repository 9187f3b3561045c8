package keeper

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/node"
)

const (
	// A single refusal is asked again after firstRetry, doubled each time up to lastRetry. A call that fails as a whole
	// pauses all of them: up to lastPause, over which a whole cluster's agents are spread.
	firstRetry = 500 * time.Millisecond
	lastRetry  = time.Minute
	lastPause  = 20 * time.Second
	// lastMoment is how often it is asked when almost nothing is left of an SVID.
	lastMoment = 100 * time.Millisecond
	// resumeWithin spreads the agents of a cluster when their server comes back.
	resumeWithin = 500 * time.Millisecond
)

// pods are those of one identity, by UID. It is immutable.
type pods []ca.PodRef

func (p pods) with(ref ca.PodRef) pods {
	out := append(p.without(ref.UID), ref)
	slices.SortFunc(out, func(a, b ca.PodRef) int { return strings.Compare(a.UID, b.UID) })
	return out
}

func (p pods) without(uid string) pods {
	return slices.DeleteFunc(slices.Clone(p), func(r ca.PodRef) bool { return r.UID == uid })
}

// entry is one identity. Its Keeper's mu guards it.
type entry struct {
	id      spiffeid.ID // zero for the node's until it has been told
	pods    pods        // none for the node's
	svid    *node.SVID
	changed chan struct{} // closed when svid or the bundles are others
	// received and life are of svid: a monotonic time, and how long it is valid from then. notAfter and renewAt are on the
	// wall clock, early is renewAt's distance from received.
	received          time.Time
	life              time.Duration
	notAfter, renewAt time.Time
	early             time.Duration
	// busy is set while it is asked for. next is when it may be, after failures in a row; mismatches counts those that came
	// from another authority than the one that signs.
	busy       bool
	next       time.Time
	failures   int
	mismatches int
	err        error
}

func newEntry(id spiffeid.ID) *entry { return &entry{id: id, changed: make(chan struct{})} }

// latest is how long before its end an SVID is renewed at the latest: min(15 minutes, life/6).
func latest(life time.Duration) time.Duration { return min(15*time.Minute, life/6) }

// keep takes in a new SVID, and plans its renewal: somewhere between a half and two thirds of its life, so that what was
// asked for together drifts apart, and a third of the life is left for what may go wrong. Wall and monotonic clock both
// count: whichever says first that it is time is believed, so that no jump of a clock lets an SVID lapse.
func (e *entry) keep(svid *node.SVID, wall time.Time) {
	e.svid, e.id = svid, svid.ID
	e.received, e.notAfter = time.Now(), svid.Chain[0].NotAfter
	e.life = e.notAfter.Sub(wall.Round(0))
	e.plan(min(e.life/2+rand.N(e.life/6+1), e.life-latest(e.life)), wall)
	e.failures, e.next, e.err = 0, time.Time{}, nil
	renew(&e.changed)
}

// plan has the SVID renewed some time after it was received.
func (e *entry) plan(after time.Duration, wall time.Time) {
	e.early = after
	e.renewAt = wall.Round(0).Add(after - time.Since(e.received))
}

// left is how long the SVID is valid; 0 or less when there is none or it has ended.
func (e *entry) left(wall time.Time) time.Duration {
	if e.svid == nil {
		return 0
	}
	return min(e.notAfter.Sub(wall.Round(0)), e.life-time.Since(e.received))
}

// valid gives the SVID unless it has ended.
func (e *entry) valid(wall time.Time) *node.SVID {
	if e.left(wall) <= 0 {
		return nil
	}
	return e.svid
}

// wait is how long until the entry is to be asked for; 0 or less is now.
func (e *entry) wait(wall time.Time) time.Duration {
	until := time.Duration(0)
	if e.svid != nil {
		until = min(e.renewAt.Sub(wall.Round(0)), e.early-time.Since(e.received))
	}
	return max(until, time.Until(e.next))
}

// hasten has an SVID of another authority than the one that signs renewed soon. Where the new one is again of another
// authority (a replica that is behind), the next waits longer.
func (k *Keeper) hasten(e *entry) {
	if e.svid == nil || k.bundles == nil || k.bundles.Signing == "" || e.svid.Authority == k.bundles.Signing {
		e.mismatches = 0
		return
	}
	spread := min(k.cfg.Spread, e.life/10) << min(e.mismatches, 10)
	e.mismatches++
	wall := k.cfg.Wall()
	if after := time.Since(e.received) + spread/8 + rand.N(spread+1); after < e.early {
		e.plan(after, wall)
	}
}

// backoff is how long to wait after failures in a row: spread over its whole length, and the shorter the less is left.
func backoff(failures int, longest, left time.Duration) time.Duration {
	d := min(firstRetry<<min(failures-1, 16), longest)
	if left > 0 {
		d = min(d, max(left/8, lastMoment))
	}
	return d/2 + rand.N(d/2+1)
}
