// Package store keeps the authorities of a trust domain: in memory, in a folder, in a Secret, and beneath mounted files.
//
// See package ca for the line on which it stands.
package store

import (
	"context"
	"strconv"
	"sync"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// Memory keeps a state for as long as the process lives: for tests and for trying things out.
type Memory struct {
	mu      sync.Mutex
	state   authority.State
	version int
	changed chan struct{}
}

// NewMemory makes an empty store.
func NewMemory() authority.Store { return &Memory{changed: make(chan struct{})} }

// Load implements authority.Store.
func (m *Memory) Load(context.Context) (authority.State, authority.Version, error) {
	s, v, _, err := m.get()
	return s, v, err
}

func (m *Memory) get() (authority.State, authority.Version, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version == 0 {
		return authority.State{}, "", m.changed, authority.ErrNone
	}
	return m.state.Clone(), authority.Version(strconv.Itoa(m.version)), m.changed, nil
}

// Save implements authority.Store.
func (m *Memory) Save(_ context.Context, s authority.State, version authority.Version) (authority.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	current := ""
	if m.version > 0 {
		current = strconv.Itoa(m.version)
	}
	if current != string(version) {
		return "", authority.ErrConflict
	}
	m.state = s.Clone()
	m.version++
	close(m.changed)
	m.changed = make(chan struct{})
	return authority.Version(strconv.Itoa(m.version)), nil
}

// Watch implements authority.Store.
func (m *Memory) Watch(ctx context.Context, fn func(authority.State, authority.Version)) error {
	var last authority.Version
	for {
		s, v, changed, err := m.get()
		if err == nil && v != last {
			fn(s, v)
			last = v
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
