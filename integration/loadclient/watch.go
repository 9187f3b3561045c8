package loadclient

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Match tells whether an update is the one that is waited for. It must depend on the update's type, name, version, body
// and removal alone: for a large body it is asked once and not once a client.
type Match func(*Update) bool

// Marker matches resources of a type whose body contains some bytes; an empty type is any.
func Marker(typeURL string, marker []byte) Match {
	return func(u *Update) bool {
		return (typeURL == "" || u.Type == typeURL) && bytes.Contains(u.Body, marker)
	}
}

// Removal matches the removal of a resource.
func Removal(typeURL, name string) Match {
	return func(u *Update) bool { return u.Removed && u.Type == typeURL && u.Name == name }
}

// Version matches a version of a resource; an empty version is any.
func Version(typeURL, name, version string) Match {
	return func(u *Update) bool {
		return !u.Removed && u.Type == typeURL && u.Name == name && (version == "" || u.Version == version)
	}
}

// Watch is a probe in the streams of all clients: it notes when each one first received what it matches.
type Watch struct {
	fleet *Fleet
	match Match

	verdicts sync.Map // *record with a large body → bool

	mu      sync.Mutex // guards what follows
	times   []time.Time
	changed chan struct{} // closed at the next arrival
}

// Watch begins to look; do so before the change is made. Stop it in the end.
func (f *Fleet) Watch(m Match) *Watch {
	w := &Watch{fleet: f, match: m, times: make([]time.Time, len(f.clients)), changed: make(chan struct{})}
	f.setWatches(func(ws []*Watch) []*Watch { return append(ws, w) })
	return w
}

// Stop ends looking.
func (w *Watch) Stop() {
	w.fleet.setWatches(func(ws []*Watch) []*Watch {
		return slices.DeleteFunc(ws, func(o *Watch) bool { return o == w })
	})
}

func (f *Fleet) setWatches(edit func([]*Watch) []*Watch) {
	f.watchMu.Lock()
	defer f.watchMu.Unlock()
	ws := edit(slices.Clone(f.watching()))
	f.watches.Store(&ws)
}

func (f *Fleet) watching() []*Watch {
	if ws := f.watches.Load(); ws != nil {
		return *ws
	}
	return nil
}

// Times gives for each client when it first received a match; the zero time when it has not.
func (w *Watch) Times() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.times)
}

// Wait waits until each of the clients (all, when none is named) has received a match, and gives their times. The error
// names one that has not.
func (w *Watch) Wait(ctx context.Context, clients ...*Client) ([]time.Time, error) {
	if len(clients) == 0 {
		clients = w.fleet.clients
	}
	for {
		w.mu.Lock()
		changed := w.changed
		out := make([]time.Time, 0, len(clients))
		var missing *Client
		for _, c := range clients {
			if at := w.times[c.number]; !at.IsZero() {
				out = append(out, at)
			} else {
				missing = c
			}
		}
		w.mu.Unlock()
		if missing == nil {
			return out, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return out, fmt.Errorf("wait for an update: %w: %d of %d clients have it, %s not (last stream: %v)",
				context.Cause(ctx), len(out), len(clients), missing.ID(), missing.Err())
		}
	}
}

// see looks at one update of a client.
func (w *Watch) see(c *Client, u *Update) {
	const large = 4096 // from here on a look into a map costs less than another search
	var yes bool
	if len(u.Body) < large {
		yes = w.match(u)
	} else if v, ok := w.verdicts.Load(u.record); ok {
		yes = v.(bool)
	} else {
		yes = w.match(u)
		w.verdicts.Store(u.record, yes)
	}
	if !yes {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.times[c.number].IsZero() {
		w.times[c.number] = u.At
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// tell shows a response to whoever looks, and gives the reason for which it is refused, or nil.
func (c *Client) tell(r *response, recs []*record, at time.Time) error {
	c.mu.Lock()
	reject := c.behaviour.Reject
	c.mu.Unlock()
	watches, hook := c.fleet.watching(), c.fleet.cfg.OnUpdate
	if len(watches) == 0 && hook == nil && reject == nil {
		return nil
	}
	updates := make([]Update, 0, len(recs)+len(r.removed))
	for i, rec := range recs {
		_, _, body, _ := open(r.resources[i], c.fleet.cfg.SotW) // it was opened before, without an error
		u := Update{Type: r.typeURL, Name: rec.name, Version: rec.version, Body: body, At: at, record: rec}
		if c.fleet.cfg.SotW {
			u.Version = r.version
		}
		updates = append(updates, u)
	}
	for _, name := range r.removed {
		updates = append(updates, Update{Type: r.typeURL, Name: name, Removed: true, At: at})
	}
	for i := range updates {
		for _, w := range watches {
			w.see(c, &updates[i])
		}
		if hook != nil {
			hook(c, &updates[i])
		}
	}
	if reject == nil {
		return nil
	}
	return reject(&Response{Type: r.typeURL, Nonce: r.nonce, Updates: updates})
}
