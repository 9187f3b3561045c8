package authority

import (
	"context"
	"errors"
)

// Store keeps a State. Implementations are safe for concurrent use.
type Store interface {
	// Load gives the state and its version; ErrNone when there is none yet.
	Load(ctx context.Context) (State, Version, error)
	// Save replaces the state that has version ("" to make the first one), and gives the new version; ErrConflict when
	// another one has been saved meanwhile.
	Save(ctx context.Context, s State, version Version) (Version, error)
	// Watch calls fn with the state, and again whenever it is another, until ctx ends, which is no error.
	Watch(ctx context.Context, fn func(State, Version)) error
}

// Version tells two states of a Store apart.
type Version string

var (
	// ErrNone says that a Store has no state yet.
	ErrNone = errors.New("no authority is stored")
	// ErrConflict says that a state was changed by another one meanwhile: load it and decide again.
	ErrConflict = errors.New("the stored authority has changed meanwhile")
)
