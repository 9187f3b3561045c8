package rotate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// The steps are pure: each makes another State of one, or says why it may not. They never look at who has acknowledged what;
// the Machine does that before it takes one.

// Reasons of transitions, for logs and people.
const (
	ReasonStarted      = "RotationStarted"
	ReasonMounted      = "AuthorityMounted"
	ReasonNearsEnd     = "AuthorityNearsItsEnd"
	ReasonAcknowledged = "BundleAcknowledged"
	ReasonSwitched     = "EveryReplicaSwitched"
	ReasonRetired      = "AuthorityRetired"
	ReasonWithdrawn    = "AuthorityWithdrawn"
	ReasonPaused       = "RotationPaused"
	ReasonResumed      = "RotationResumed"
	ReasonAborted      = "RotationAborted"
)

// generation gives one of a state by its ID; nil when it is not trusted.
func generation(s *authority.State, id string) *authority.Generation {
	for i := range s.Generations {
		if s.Generations[i].ID == id {
			return &s.Generations[i]
		}
	}
	return nil
}

// signs tells whether a generation of the state can sign from now for a while.
func signs(s *authority.State, id string, now time.Time) error {
	g := generation(s, id)
	switch {
	case g == nil:
		return fmt.Errorf("authority %q is not trusted any more", id)
	case g.Key == nil:
		return fmt.Errorf("authority %s cannot sign here: its key is not in the store", id)
	case !now.Before(g.Issuer.NotAfter):
		return fmt.Errorf("authority %s has ended at %s", id, g.Issuer.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// begin trusts another authority; the old one goes on signing. next may be trusted already (mounted).
func begin(s authority.State, next authority.Generation, jwt *authority.JWTKey, without []string, now time.Time) (authority.State, error) {
	if s.Rotation.Stage != authority.Stable {
		return s, fmt.Errorf("rotate: a rotation is under way (%s): see `fairlead ca status`; resume or abort it", s.Rotation.Stage)
	}
	if next.ID == s.Signing {
		return s, fmt.Errorf("rotate: authority %s signs already", next.ID)
	}
	s = s.Clone()
	if generation(&s, next.ID) == nil {
		s.Generations = append(s.Generations, next)
	}
	if err := signs(&s, next.ID, now); err != nil {
		return s, fmt.Errorf("rotate: %w", err)
	}
	if jwt != nil {
		k := *jwt
		k.NotBefore, k.NotAfter = never, time.Time{} // verified with from now on, signed with from the switch
		s.JWT = append(s.JWT, k)
	}
	s.Sequence++
	s.Rotation = authority.Rotation{
		Stage: authority.Distributing, From: s.Signing, To: next.ID, Started: now, Since: now, Without: without,
	}
	return s, nil
}

// never is later than any time that is compared with it.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// switchOver makes the new authority sign. The caller has made sure that everybody trusts it.
func switchOver(s authority.State, now time.Time) (authority.State, error) {
	r := s.Rotation
	if r.Stage != authority.Distributing || r.Paused {
		return s, errMoved
	}
	if err := signs(&s, r.To, now); err != nil {
		return s, fmt.Errorf("switch to the new authority: %w", err)
	}
	s = s.Clone()
	s.Signing = r.To
	for i := range s.JWT {
		if s.JWT[i].NotBefore.Equal(never) {
			s.JWT[i].NotBefore = now
		}
	}
	s.Sequence++ // the bundle names who signs
	s.Rotation.Stage, s.Rotation.Since, s.Rotation.Retire = authority.Retiring, now, time.Time{}
	return s, nil
}

// settle sets the time from which the authority that does not sign any more may be dropped. The caller has made sure that no
// replica signs with it: the last certificate of it ends before now+hold, and the last JWT-SVID of its time before now+jwt. Where
// that is later, the key of those outlives the authority.
func settle(s authority.State, now time.Time, hold, jwt time.Duration) (authority.State, error) {
	r := s.Rotation
	if r.Stage != authority.Retiring && r.Stage != authority.Withdrawing || !r.Retire.IsZero() {
		return s, errMoved
	}
	s = s.Clone()
	s.Rotation.Retire = now.Add(hold)
	last := lastJWT(&s, now)
	for i := range s.JWT {
		if k := &s.JWT[i]; k.ID != last && !k.NotBefore.Equal(never) && k.NotAfter.IsZero() {
			k.NotAfter = now.Add(max(hold, jwt))
		}
	}
	return s, nil
}

// lastJWT is the ID of the key that signs JWT-SVIDs (authority.State.JWT).
func lastJWT(s *authority.State, now time.Time) string {
	id := ""
	for _, k := range s.JWT {
		if !now.Before(k.NotBefore) && (k.NotAfter.IsZero() || now.Before(k.NotAfter)) {
			id = k.ID
		}
	}
	return id
}

// retire drops the authority that goes, once nothing of it is valid any more.
func retire(s authority.State, now time.Time) (authority.State, error) {
	r := s.Rotation
	if r.Stage != authority.Retiring && r.Stage != authority.Withdrawing || r.Paused || r.Retire.IsZero() || now.Before(r.Retire) {
		return s, errMoved
	}
	s = s.Clone()
	if r.Stage == authority.Withdrawing {
		decline(&s, r.From)
	}
	drop(&s, r.From)
	s.JWT = slices.DeleteFunc(s.JWT, func(k authority.JWTKey) bool { return !k.NotAfter.IsZero() && !now.Before(k.NotAfter) })
	s.Sequence++
	s.Rotation = authority.Rotation{}
	return s, nil
}

// abort goes back. While the new authority has signed nothing, that is at once; then the old one signs again, and the new one
// is trusted until its last certificate has ended.
func abort(s authority.State, now time.Time) (authority.State, error) {
	r := s.Rotation
	s = s.Clone()
	switch r.Stage {
	case authority.Distributing:
		decline(&s, r.To)
		drop(&s, r.To)
		s.JWT = slices.DeleteFunc(s.JWT, func(k authority.JWTKey) bool { return k.NotBefore.Equal(never) })
		s.Rotation = authority.Rotation{}
	case authority.Retiring:
		if err := signs(&s, r.From, now); err != nil {
			return s, fmt.Errorf("abort: the old authority cannot sign again: %w; finish the rotation instead", err)
		}
		s.Signing = r.From
		s.Rotation.Stage, s.Rotation.From, s.Rotation.To = authority.Withdrawing, r.To, r.From
		s.Rotation.Since, s.Rotation.Retire, s.Rotation.Paused = now, time.Time{}, false
	case authority.Withdrawing:
		return s, errors.New("abort: the rotation is aborted already; the new authority is withdrawn when its last certificate has ended")
	default:
		return s, errors.New("abort: no rotation is under way")
	}
	s.Sequence++
	return s, nil
}

// drop ends the trust in a generation that does not sign.
func drop(s *authority.State, id string) {
	s.Generations = slices.DeleteFunc(s.Generations, func(g authority.Generation) bool { return g.ID == id && id != s.Signing })
}

// decline keeps what is mounted from being taken again by itself.
func decline(s *authority.State, id string) {
	if g := generation(s, id); g != nil && g.Source == authority.Mounted && !slices.Contains(s.Declined, id) {
		s.Declined = append(s.Declined, id)
	}
}

func pause(s authority.State) (authority.State, error) {
	switch {
	case s.Rotation.Stage == authority.Stable:
		return s, errors.New("pause: no rotation is under way")
	case s.Rotation.Paused:
		return s, errors.New("pause: the rotation is paused already")
	}
	s = s.Clone()
	s.Rotation.Paused = true
	return s, nil
}

// resume ends a pause, and waits no longer for some nodes.
func resume(s authority.State, without []string) (authority.State, error) {
	switch {
	case s.Rotation.Stage == authority.Stable:
		return s, errors.New("resume: no rotation is under way")
	case !s.Rotation.Paused && len(without) == 0:
		return s, errors.New("resume: the rotation is not paused")
	case len(without) > 0 && s.Rotation.Stage != authority.Distributing:
		return s, fmt.Errorf("resume: nodes are waited for in %s only, and this is %s: leave --without out", authority.Distributing, s.Rotation.Stage)
	}
	s = s.Clone()
	s.Rotation.Paused = false
	s.Rotation.Without = names(s.Rotation.Without, without)
	return s, nil
}

// names joins two lists of nodes: sorted, each once.
func names(a, b []string) []string {
	out := slices.Concat(a, b)
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	out = slices.DeleteFunc(out, func(n string) bool { return n == "" })
	slices.Sort(out)
	return slices.Compact(out)
}
