package authority

import (
	"crypto"
	"encoding/json"
	"fmt"
	"io"
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

// Format is String, for every verb: %d and its like would not ask String.
func (g Generation) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, g.String()) }

// GoString is String, for whoever asks without package fmt.
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

// Format is String, for every verb.
func (k JWTKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// GoString is String, for whoever asks without package fmt.
func (k JWTKey) GoString() string { return k.String() }

// LogValue is String, for slog.
func (k JWTKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON is String, for whoever writes a state out without package store.
func (k JWTKey) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// sealed is a key in closures: what fmt finds in an unexported field it prints without asking String, and a wrong verb even
// follows pointers there, but nobody prints what a function has hold of.
type sealed struct {
	sign   func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)
	public func() crypto.PublicKey
	open   func() crypto.Signer
}

func (s sealed) Public() crypto.PublicKey { return s.public() }

func (s sealed) Sign(r io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(r, message, opts)
}

// Seal gives a key that signs as key does, and cannot be printed.
func Seal(key crypto.Signer) crypto.Signer {
	if _, ok := key.(sealed); ok || key == nil {
		return key
	}
	return sealed{sign: key.Sign, public: key.Public, open: func() crypto.Signer { return key }}
}

// Unseal gives the key that was sealed, for whoever has to write it out.
func Unseal(key crypto.Signer) crypto.Signer {
	if s, ok := key.(sealed); ok {
		return s.open()
	}
	return key
}
