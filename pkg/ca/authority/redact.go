package authority

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// Whatever prints a Generation or a JWTKey comes here, so that no private key is ever part of a log, an error or a dump.
// Package store writes keys out by itself, and is the only one that does.

// String names the generation and what can be seen of it from outside.
func (g Generation) String() string {
	if g.Issuer == nil {
		return "generation " + g.ID
	}
	return fmt.Sprintf("generation %s (%s, %d roots, ends %s, key here: %t)", g.ID, g.Source, len(g.Roots),
		g.Issuer.NotAfter.UTC().Format(time.RFC3339), g.Key != nil)
}

// GoString is String, for %#v.
func (g Generation) GoString() string { return g.String() }

// LogValue is String, for slog.
func (g Generation) LogValue() slog.Value { return slog.StringValue(g.String()) }

// MarshalJSON is String, for whoever writes a state out without package store.
func (g Generation) MarshalJSON() ([]byte, error) { return json.Marshal(g.String()) }

// String names the key and its dates.
func (k JWTKey) String() string {
	s := fmt.Sprintf("JWT key %s (from %s", k.ID, k.NotBefore.UTC().Format(time.RFC3339))
	if !k.NotAfter.IsZero() {
		s += " until " + k.NotAfter.UTC().Format(time.RFC3339)
	}
	return s + ")"
}

// GoString is String, for %#v.
func (k JWTKey) GoString() string { return k.String() }

// LogValue is String, for slog.
func (k JWTKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON is String, for whoever writes a state out without package store.
func (k JWTKey) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }
