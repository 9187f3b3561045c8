// Package ledger remembers the certificates that this replica signed and that are still valid, for those who ask who holds what.
//
// See package ca for the line on which it stands.
package ledger

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Entry is one certificate.
type Entry struct {
	Identity string `json:"identity"`
	// Pod is <namespace>/<name> where it was signed for a pod that was known; Node is the node of the pod, or of the caller.
	Pod  string `json:"pod,omitempty"`
	Node string `json:"node,omitempty"`
	// Serial is in hexadecimal.
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// Authority is the generation that signed it.
	Authority string `json:"authority"`
}

// Limit is how many entries a ledger holds unless said otherwise; beyond it the oldest go.
const Limit = 100_000

// Ledger is safe for concurrent use.
type Ledger struct {
	limit int
	now   func() time.Time

	mu      sync.Mutex // guards all below
	entries []Entry    // in the order of signing
	sweep   int        // at this length those that have ended are dropped
	dropped uint64     // that were valid still
}

// New makes an empty ledger of at most limit entries (Limit for 0); now is time.Now unless set.
func New(limit int, now func() time.Time) *Ledger {
	if limit <= 0 {
		limit = Limit
	}
	if now == nil {
		now = time.Now
	}
	return &Ledger{limit: limit, now: now, sweep: min(1024, limit)}
}

// Add notes a certificate.
func (l *Ledger) Add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) >= l.sweep {
		l.shrink()
	}
	l.entries = append(l.entries, e)
}

// shrink drops what has ended, and an eighth where that is not enough, so that its cost is spread over many additions.
// The lock is held.
func (l *Ledger) shrink() {
	l.dropEnded()
	if len(l.entries) >= l.limit {
		n := max(l.limit/8, 1)
		l.entries = slices.Delete(l.entries, 0, n)
		l.dropped += uint64(n)
	}
	l.sweep = min(max(2*len(l.entries), 1024), l.limit)
}

func (l *Ledger) dropEnded() {
	now := l.now()
	l.entries = slices.DeleteFunc(l.entries, func(e Entry) bool { return !now.Before(e.NotAfter) })
}

// List gives the valid certificates, by identity, then by end. The slice is the caller's.
func (l *Ledger) List() []Entry {
	l.mu.Lock()
	l.dropEnded()
	out := slices.Clone(l.entries)
	l.mu.Unlock()
	slices.SortStableFunc(out, func(a, b Entry) int {
		if d := strings.Compare(a.Identity, b.Identity); d != 0 {
			return d
		}
		return a.NotAfter.Compare(b.NotAfter)
	})
	return out
}
