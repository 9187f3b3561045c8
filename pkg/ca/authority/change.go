package authority

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// The functions of this file make another state of one. They are pure: they share what they do not change with the state that
// they are given, and leave that as it is.

// First is the state of a new trust domain: g signs, and a first JWT key does from the start.
func First(g Generation, now time.Time) (State, error) {
	s, err := Add(State{}, g)
	if err != nil {
		return State{}, err
	}
	key, err := GenerateJWTKey(now)
	if err != nil {
		return State{}, err
	}
	s.Signing, s.JWT = g.ID, []JWTKey{key}
	return s, nil
}

// Add trusts one more generation. Which one signs stays as it is.
func Add(s State, g Generation) (State, error) {
	if _, ok := s.Generation(g.ID); ok {
		return s, fmt.Errorf("add generation %s: it is there already", g.ID)
	}
	if err := g.Check(); err != nil {
		return s, fmt.Errorf("add generation: %w", err)
	}
	s.Generations = append(slices.Clone(s.Generations), g)
	s.Sequence++
	return s, nil
}

// SwitchSigning has another generation sign. What is trusted stays as it is.
func SwitchSigning(s State, id string) (State, error) {
	if _, ok := s.Generation(id); !ok {
		return s, fmt.Errorf("switch signing: there is no generation %q", id)
	}
	s.Signing = id
	return s, nil
}

// Drop ends the trust in a generation. The one that signs is not dropped.
func Drop(s State, id string) (State, error) {
	_, ok := s.Generation(id)
	switch {
	case !ok:
		return s, fmt.Errorf("drop generation: there is no generation %q", id)
	case id == s.Signing:
		return s, fmt.Errorf("drop generation %s: it signs; let another one sign first", id)
	}
	s.Generations = slices.DeleteFunc(slices.Clone(s.Generations), func(g Generation) bool { return g.ID == id })
	s.Sequence++
	return s, nil
}

// Check tells whether a generation is what it says: a CA, with its key, that leads to its roots.
func (g Generation) Check() error {
	switch {
	case g.Issuer == nil:
		return errors.New("generation without an issuer")
	case g.ID != GenerationID(g.Issuer):
		return fmt.Errorf("generation %q: its issuer's ID is %s", g.ID, GenerationID(g.Issuer))
	case !g.Issuer.IsCA || !g.Issuer.BasicConstraintsValid:
		return fmt.Errorf("generation %s: its issuer is no CA", g.ID)
	}
	if g.Key != nil && !samePublicKey(g.Key.Public(), g.Issuer.PublicKey) {
		return fmt.Errorf("generation %s: its key is not that of its certificate", g.ID)
	}
	_, err := g.path(g.Issuer.NotBefore)
	return err
}
