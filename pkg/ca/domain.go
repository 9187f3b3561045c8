package ca

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Ours tells whether a trust domain is ours or one of its other names.
func Ours(ours spiffeid.TrustDomain, aliases []spiffeid.TrustDomain, td spiffeid.TrustDomain) bool {
	return td == ours || slices.Contains(aliases, td)
}

// Own maps an identity of an alias to the same path in our trust domain; false for every other trust domain.
func Own(ours spiffeid.TrustDomain, aliases []spiffeid.TrustDomain, id spiffeid.ID) (spiffeid.ID, bool) {
	if id.MemberOf(ours) {
		return id, true
	}
	if !Ours(ours, aliases, id.TrustDomain()) {
		return spiffeid.ID{}, false
	}
	mapped, err := spiffeid.FromPath(ours, id.Path())
	return mapped, err == nil
}
