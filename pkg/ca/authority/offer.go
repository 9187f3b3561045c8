package authority

import (
	"crypto/x509"
	"slices"
	"time"
)

// Offerer is a Store whose generations come from outside: files that somebody else replaces.
type Offerer interface {
	Store
	// Offered gives the generation that is mounted now, with its key, and a channel that is closed when it is another. The error is
	// why there is none.
	Offered() (Generation, <-chan struct{}, error)
}

// Offer merges a mounted generation into a state. It is pure, and an unchanged state says that there is nothing to do.
//
// A generation whose root is the one that verifies what is signed now is trusted by everybody, so it signs at once, and the one
// before is superseded: it is dropped when its issuer has ended, and nobody returns to it by himself (Declined). Any other
// one is only trusted from now on; a rotation has it sign (package rotate).
//
// Replicas see files change one after the other, up to two minutes apart. So what takes something back (a root that is not
// mounted any more, another chain, a return to a generation before) is done only when settled: when this replica has seen the
// difference for longer than that. What was withdrawn (Declined) is not taken again while it stays mounted; when another set has been
// mounted for that long, it is forgotten, and may come again.
func Offer(s State, g Generation, settled bool, now time.Time) (State, error) {
	if len(s.Generations) == 0 {
		return First(g, now)
	}
	s = prune(s, now)
	if settled {
		s = recant(s, g.ID)
	}
	i := slices.IndexFunc(s.Generations, func(o Generation) bool { return o.ID == g.ID })
	switch {
	case i >= 0:
		s = remount(s, i, g, settled)
		if settled && s.Rotation.Stage == Stable && s.Signing != g.ID {
			s = returnTo(s, g, now)
		}
		return s, nil
	case slices.Contains(s.Declined, g.ID):
		return s, nil
	}
	next, err := Add(s, g)
	if err != nil {
		return s, err
	}
	if sameRoot(s, g, now) {
		return supersede(next, g.ID), nil
	}
	if s.Rotation.Stage != Stable {
		return s, nil // one rotation after the other
	}
	return next, nil
}

// remount takes the roots and the chain of files whose issuer is known.
func remount(s State, i int, g Generation, settled bool) State {
	known := s.Generations[i]
	roots, chain := known.Roots, known.Chain
	if settled {
		roots, chain = g.Roots, g.Chain
	}
	for _, r := range g.Roots {
		if !contains(roots, r) {
			roots = append(slices.Clip(roots), r)
		}
	}
	trusted := sameSet(roots, known.Roots)
	if trusted && equalCertificates(chain, known.Chain) {
		return s
	}
	known.Roots, known.Chain = roots, chain
	if known.Check() != nil {
		return s // what is mounted has been checked; this would be a mixture that is not
	}
	s.Generations = slices.Clone(s.Generations)
	s.Generations[i] = known
	if !trusted {
		s.Sequence++
	}
	return s
}

func sameSet(a, b []*x509.Certificate) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(c *x509.Certificate) bool { return !contains(b, c) })
}

// returnTo goes back to a generation that is trusted still.
func returnTo(s State, g Generation, now time.Time) State {
	if sameRoot(s, g, now) {
		return supersede(s, g.ID)
	}
	s.Declined = without(s.Declined, g.ID) // a rotation takes it from here
	return s
}

// supersede has another generation of the same root sign, and take the old one's place in a rotation.
func supersede(s State, id string) State {
	old := s.Signing
	s.Signing = id
	for _, place := range []*string{&s.Rotation.From, &s.Rotation.To} {
		if *place == old && old != "" {
			*place = id
		}
	}
	s.Declined = without(s.Declined, id)
	if !slices.Contains(s.Declined, old) {
		s.Declined = append(s.Declined, old)
	}
	return s
}

func without(list []string, id string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(o string) bool { return o == id })
}

// sameRoot tells whether g leads to the root that verifies what is signed now.
func sameRoot(s State, g Generation, now time.Time) bool {
	signing, ok := s.Generation(s.Signing)
	if !ok {
		return false
	}
	path, err := signing.path(now)
	if err != nil {
		return false
	}
	g.Roots = path[len(path)-1:]
	_, err = g.path(now)
	return err == nil
}

// recant forgets what was withdrawn and is neither trusted nor mounted any more: when it is mounted again, somebody wants it.
func recant(s State, mounted string) State {
	old := func(id string) bool { _, trusted := s.Generation(id); return !trusted && id != mounted }
	if slices.ContainsFunc(s.Declined, old) {
		s.Declined = slices.DeleteFunc(slices.Clone(s.Declined), old)
	}
	return s
}

// prune drops superseded generations whose issuer has ended, because everything that they have signed has too.
func prune(s State, now time.Time) State {
	gone := func(g Generation) bool {
		return g.Source == Mounted && g.ID != s.Signing && g.ID != s.Rotation.From && g.ID != s.Rotation.To && !now.Before(g.Issuer.NotAfter)
	}
	if !slices.ContainsFunc(s.Generations, gone) {
		return s
	}
	for _, g := range s.Generations {
		if gone(g) {
			s.Declined = without(s.Declined, g.ID)
		}
	}
	s.Generations = slices.DeleteFunc(slices.Clone(s.Generations), gone)
	s.Sequence++
	return s
}
