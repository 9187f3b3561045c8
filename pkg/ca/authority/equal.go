package authority

import (
	"crypto/x509"
	"slices"
)

// Clone gives a state whose lists are its own. Certificates and keys are shared: nobody changes them.
func (s State) Clone() State {
	s.Generations = slices.Clone(s.Generations)
	for i := range s.Generations {
		g := &s.Generations[i]
		g.Chain, g.Roots = slices.Clone(g.Chain), slices.Clone(g.Roots)
	}
	s.JWT = slices.Clone(s.JWT)
	s.Rotation.Without = slices.Clone(s.Rotation.Without)
	s.Declined = slices.Clone(s.Declined)
	return s
}

// Equal tells whether two states say the same. Whether the key of a generation is here belongs to it; Revision does not.
func Equal(a, b State) bool {
	return a.Sequence == b.Sequence && a.Signing == b.Signing &&
		slices.EqualFunc(a.Generations, b.Generations, equalGeneration) &&
		slices.EqualFunc(a.JWT, b.JWT, equalJWTKey) &&
		equalRotation(a.Rotation, b.Rotation) && slices.Equal(a.Declined, b.Declined)
}

func equalGeneration(a, b Generation) bool {
	return a.ID == b.ID && a.Source == b.Source && a.Created.Equal(b.Created) && (a.Key == nil) == (b.Key == nil) &&
		a.Issuer.Equal(b.Issuer) && equalCertificates(a.Chain, b.Chain) && equalCertificates(a.Roots, b.Roots)
}

func equalCertificates(a, b []*x509.Certificate) bool {
	return slices.EqualFunc(a, b, (*x509.Certificate).Equal)
}

func equalJWTKey(a, b JWTKey) bool {
	return a.ID == b.ID && a.NotBefore.Equal(b.NotBefore) && a.NotAfter.Equal(b.NotAfter)
}

func equalRotation(a, b Rotation) bool {
	return a.Stage == b.Stage && a.From == b.From && a.To == b.To && a.Started.Equal(b.Started) && a.Since.Equal(b.Since) &&
		a.Paused == b.Paused && slices.Equal(a.Without, b.Without) && a.Retire.Equal(b.Retire)
}
