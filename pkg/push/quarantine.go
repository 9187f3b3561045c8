package push

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/pkg/snapshot"
)

// badKey names rejected content for one Envoy version. Node is set when the fault is the node's own (a port in use),
// which says nothing about other nodes.
type badKey struct {
	typeURL, name, variant string
	hash                   uint64
	version, node          string
}

// bad is one quarantined content.
type bad struct {
	message  string
	since    time.Time
	failures int
	retry    time.Time
	trying   uint64 // id of the stream that tries it again; 0 nobody
}

// quarantine is shared by all streams.
type quarantine struct {
	min, max time.Duration
	gauge    prometheus.Gauge

	size atomic.Int64 // of bad: mostly nothing is, and nobody needs to wait for the lock to see that

	mu      sync.Mutex
	bad     map[badKey]*bad
	byName  map[[2]string]map[badKey]struct{}
	changed chan struct{} // closed when something was lifted
}

func newQuarantine(minimum, maximum time.Duration, gauge prometheus.Gauge) *quarantine {
	return &quarantine{
		min: minimum, max: maximum, gauge: gauge, bad: map[badKey]*bad{}, byName: map[[2]string]map[badKey]struct{}{},
		changed: make(chan struct{}),
	}
}

// find gives the key under which a resource is quarantined for a client.
func (q *quarantine) find(r *snapshot.Resource, version, node string) (badKey, bool) {
	if q.size.Load() == 0 {
		return badKey{}, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	k := badKey{typeURL: r.Type, name: r.Name, variant: r.Variant, hash: r.Hash, version: version}
	if q.bad[k] != nil {
		return k, true
	}
	k.node = node
	return k, q.bad[k] != nil
}

// lookup is find with the message.
func (q *quarantine) lookup(r *snapshot.Resource, version, node string) (badKey, string, bool) {
	k, ok := q.find(r, version, node)
	if !ok {
		return k, "", false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.bad[k]; b != nil {
		return k, b.message, true
	}
	return k, "", false
}

// add notes a rejection; each one for the same content doubles the pause before the next try.
func (q *quarantine) add(k badKey, message string, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.bad[k]
	if b == nil {
		b = &bad{since: now}
		q.bad[k] = b
		n := [2]string{k.typeURL, k.name}
		if q.byName[n] == nil {
			q.byName[n] = map[badKey]struct{}{}
		}
		q.byName[n][k] = struct{}{}
	} else if now.Before(b.retry) && b.trying == 0 {
		return // another stream's NACK of the same push
	}
	pause := q.min << min(b.failures, 20)
	b.failures++
	b.message, b.trying, b.retry = message, 0, now.Add(min(pause, q.max))
	q.size.Store(int64(len(q.bad)))
	q.gauge.Set(float64(len(q.bad)))
}

// due gives the time of the next try, and false while another stream is trying.
func (q *quarantine) due(k badKey) (time.Time, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.bad[k]
	if b == nil {
		return time.Time{}, true
	}
	return b.retry, b.trying == 0
}

// acquire lets one stream try again when the pause is over.
func (q *quarantine) acquire(k badKey, stream uint64, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.bad[k]
	if b == nil || b.trying != 0 || now.Before(b.retry) {
		return false
	}
	b.trying = stream
	return true
}

// release gives back every try of a stream that ended without an answer.
func (q *quarantine) release(stream uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.bad {
		if b.trying == stream {
			b.trying = 0
			q.notify()
		}
	}
}

// lift ends the quarantine of content that a client has now accepted.
func (q *quarantine) lift(k badKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bad[k] != nil {
		q.remove(k)
		q.notify()
	}
}

// prune forgets content of a key that is no longer what the snapshot has.
func (q *quarantine) prune(key snapshot.Key, current *snapshot.Resource) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for k := range q.byName[[2]string{key.Type, key.Name}] {
		switch {
		case k.variant != key.Variant:
		case current != nil && k.hash == current.Hash:
		case current != nil && current.Deny != nil && k.hash == current.Deny.Hash:
		default:
			q.remove(k)
		}
	}
}

func (q *quarantine) remove(k badKey) {
	delete(q.bad, k)
	n := [2]string{k.typeURL, k.name}
	delete(q.byName[n], k)
	if len(q.byName[n]) == 0 {
		delete(q.byName, n)
	}
	q.size.Store(int64(len(q.bad)))
	q.gauge.Set(float64(len(q.bad)))
}

func (q *quarantine) notify() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// wait gives a channel that is closed when something is lifted.
func (q *quarantine) wait() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

// local tells whether Envoy's words speak of its machine and not of the resource: another node may well accept it.
func local(message string) bool {
	for _, s := range []string{
		"cannot bind", "Address already in use", "Cannot assign requested address",
		"network namespace", "Too many open files", "Permission denied",
	} {
		if strings.Contains(message, s) {
			return true
		}
	}
	return false
}
