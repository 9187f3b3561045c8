// Package authority signs: it holds the keys of one trust domain, generation by generation, and says what is trusted.
//
// A State is a value that a Store keeps; whoever changes it does so by Authority.Update, and every replica follows. Templates
// (template.go) say what a certificate is, the signer (signer.go, der.go) makes it, and the state says by whom.
//
// Where authorities come from outside (Offerer: mounted files), each replica offers what it sees, and Offer merges it: the same root
// signs at once, another root is trusted and waits for a rotation. What takes something back waits until all replicas can
// have seen it.
//
// Private keys are sealed (Seal) when they enter a State, so that nothing can print them.
//
// See package ca for the line on which it stands.
package authority

import (
	"crypto"
	"crypto/x509"
	"time"
)

// State is all there is to know of the authorities of a trust domain: a value, which Store keeps and rotate makes another of.
// The zero State has no authority.
type State struct {
	// Revision counts the changes of any part, by Authority.Update.
	Revision uint64
	// Sequence grows with every change of what is trusted.
	Sequence uint64
	// Generations are trusted, all of them, the oldest first. Signing is the ID of the one that signs.
	Generations []Generation
	Signing     string
	// JWT are the keys of JWT-SVIDs; the last one that is not before its NotBefore signs.
	JWT []JWTKey
	// Rotation is where a rotation stands; its zero value is none.
	Rotation Rotation
	// Declined are IDs of mounted generations that were withdrawn: they are not taken again by themselves.
	Declined []string
}

// Generation is one authority: an issuer with its roots.
type Generation struct {
	// ID is the hex SHA-256 of the issuer's certificate, cut to 16 digits.
	ID string
	// Issuer signs; Chain are the intermediates above it, without a root; Roots verify. A self-signed issuer is its only root.
	Issuer *x509.Certificate
	Chain  []*x509.Certificate
	Roots  []*x509.Certificate
	// Key is the issuer's. It is nil where only another replica, or a former process, has it: then it cannot sign.
	Key crypto.Signer
	// Source is where it came from: "generated" or "mounted".
	Source  string
	Created time.Time
}

// JWTKey is one key of JWT-SVIDs: ECDSA P-256.
type JWTKey struct {
	ID        string // "kid"
	Key       crypto.Signer
	NotBefore time.Time
	// NotAfter is when it is dropped; zero while it is to sign.
	NotAfter time.Time
}

// Stage is where a rotation stands.
type Stage string

const (
	// Stable is no rotation. Distributing: the new authority is trusted, the old one signs, and everybody's acknowledgement is
	// awaited. Retiring: the new one signs, and the old one is trusted until its last certificate has ended. Withdrawing is
	// Retiring of a rotation that was aborted: the old one signs again.
	Stable       Stage = ""
	Distributing Stage = "Distributing"
	Retiring     Stage = "Retiring"
	Withdrawing  Stage = "Withdrawing"
)

// Rotation is a rotation of the authority.
type Rotation struct {
	Stage Stage
	// From and To are IDs of generations: From goes, To stays.
	From, To string
	// Started is when the rotation began, Since when its stage did.
	Started, Since time.Time
	Paused         bool
	// Without are nodes that are not waited for.
	Without []string
	// Retire is when From may be dropped at the earliest.
	Retire time.Time
}
