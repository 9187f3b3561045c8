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
	g.Key = Seal(g.Key)
	s.Generations = append(slices.Clone(s.Generations), g)
	s.Sequence++
	return s, nil
}

// How long a key of JWT-SVIDs lives. It is published before it signs, because those who federate with us, or read the keys over
// HTTP, keep what they have for a while; and it verifies after it has signed, because tokens live on.
const (
	jwtSigns     = 30 * 24 * time.Hour
	jwtPublished = 24 * time.Hour
	jwtVerifies  = 25 * time.Hour
)

// RotateJWT makes the next key of JWT-SVIDs when the last one is about to have signed long enough, has the one before end, and
// drops what has ended. An unchanged state says that it is not time. A rotation of the authority brings a key of its own, so
// while there is one nothing is done.
func RotateJWT(s State, now time.Time) (State, error) {
	if s.Rotation.Stage != Stable || len(s.JWT) == 0 {
		return s, nil
	}
	keys := slices.DeleteFunc(slices.Clone(s.JWT), func(k JWTKey) bool { return !k.NotAfter.IsZero() && !now.Before(k.NotAfter) })
	changed := len(keys) != len(s.JWT)
	if len(keys) == 0 || !now.Before(keys[len(keys)-1].NotBefore.Add(jwtSigns-jwtPublished)) {
		begins := now.Add(jwtPublished)
		if len(keys) == 0 {
			begins = now
		}
		next, err := GenerateJWTKey(begins)
		if err != nil {
			return s, err
		}
		for i := range keys {
			if keys[i].NotAfter.IsZero() {
				keys[i].NotAfter = next.NotBefore.Add(jwtVerifies)
			}
		}
		keys, changed = append(keys, next), true
	}
	if !changed {
		return s, nil
	}
	s.JWT = keys
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
