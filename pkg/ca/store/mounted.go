package store

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// MountedConfig is what a Mounted may be told; the zero value works.
type MountedConfig struct {
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	Log *slog.Logger
}

// Mounted is a store whose authority is files that somebody else replaces: see readMounted for the layouts.
//
//	files ─► Mounted.Offered ─► authority.Offer ─► State ─► beneath (a Secret: no mounted key in it)
//	                                               State ◄─ beneath + the keys that were mounted since this process began
//
// What is trusted, who signs and where a rotation stands is kept beneath, so all replicas agree on it although each sees the
// files change at another time. The private keys of mounted authorities stay in the files and in memory. So a replica that
// begins while a rotation to another root is under way cannot sign until it has switched, and says so: leave replicas running
// until then.
type Mounted struct {
	dir     string
	beneath authority.Store
	cfg     MountedConfig

	mu      sync.Mutex
	read    bool
	offered authority.Generation
	changed chan struct{}
	err     error                    // why the files are not what is offered
	keys    map[string]crypto.Signer // by generation, all that were mounted
}

// NewMounted makes a store of a folder of files and of another store, which keeps everything but the mounted keys.
func NewMounted(dir string, beneath authority.Store, cfg MountedConfig) *Mounted {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Mounted{dir: dir, beneath: beneath, cfg: cfg, changed: make(chan struct{}), keys: map[string]crypto.Signer{}}
}

// Offered implements authority.Offerer.
func (m *Mounted) Offered() (authority.Generation, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readOnce()
	if m.offered.Issuer == nil {
		return authority.Generation{}, m.changed, m.err
	}
	return m.offered, m.changed, nil
}

// Err is why the files that are mounted now are not used, or what is beneath cannot be read or written; nil when all is well. What
// was good last stays in use.
func (m *Mounted) Err() error {
	var err error
	if b, ok := m.beneath.(interface{ Err() error }); ok {
		err = b.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.err, err)
}

// Load implements authority.Store.
func (m *Mounted) Load(ctx context.Context) (authority.State, authority.Version, error) {
	s, v, err := m.beneath.Load(ctx)
	if err != nil {
		return s, v, err
	}
	return m.fill(s), v, nil
}

// fill gives the generations of a state the keys that were mounted.
func (m *Mounted) fill(s authority.State) authority.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readOnce()
	s = s.Clone()
	for i := range s.Generations {
		if g := &s.Generations[i]; g.Source == authority.Mounted {
			g.Key = m.keys[g.ID]
		}
	}
	return s
}

// Save implements authority.Store. Keys that were mounted are not saved.
func (m *Mounted) Save(ctx context.Context, s authority.State, version authority.Version) (authority.Version, error) {
	s = s.Clone()
	for i := range s.Generations {
		if g := &s.Generations[i]; g.Source == authority.Mounted {
			g.Key = nil
		}
	}
	return m.beneath.Save(ctx, s, version)
}

// Watch implements authority.Store: of what is beneath, with the keys of the files, which it watches too.
func (m *Mounted) Watch(ctx context.Context, fn func(authority.State, authority.Version)) error {
	var (
		mu      sync.Mutex // one call of fn at a time
		last    authority.State
		version authority.Version
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	files := make(chan error, 1)
	go func() {
		defer cancel()
		files <- watchFolder(ctx, m.dir, func() {
			if !m.reload() {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if version != "" {
				fn(m.fill(last), version)
			}
		})
	}()
	err := m.beneath.Watch(ctx, func(s authority.State, v authority.Version) {
		mu.Lock()
		defer mu.Unlock()
		last, version = s, v
		fn(m.fill(s), v)
	})
	cancel()
	return errors.Join(err, <-files)
}

// readOnce reads the files when nobody has yet; mu is held.
func (m *Mounted) readOnce() {
	if !m.read {
		m.take()
	}
}

// reload reads the files, and tells whether what is offered is another.
func (m *Mounted) reload() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.take()
}

func (m *Mounted) take() bool {
	m.read = true
	g, err := readMounted(m.dir, m.cfg.Now())
	if err != nil {
		err = fmt.Errorf("read mounted authority: %w", err)
		if m.err == nil || m.err.Error() != err.Error() {
			m.cfg.Log.Error("the mounted authority is not used; the last good one stays", "error", err)
		}
		m.err = err
		return false
	}
	m.err = nil
	if m.offered.Issuer != nil && m.offered.ID == g.ID && sameCertificates(m.offered.Chain, g.Chain) && sameCertificates(m.offered.Roots, g.Roots) {
		return false
	}
	m.cfg.Log.Info("an authority is mounted", "generation", g)
	m.offered, m.keys[g.ID] = g, g.Key
	close(m.changed)
	m.changed = make(chan struct{})
	return true
}
