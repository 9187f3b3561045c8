package rotate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// Status is how the authorities and a rotation stand, as this replica knows it. It holds no key.
type Status struct {
	TrustDomain string   `json:"trustDomain"`
	Aliases     []string `json:"aliases,omitempty"`
	// Sequence counts the changes of what is trusted.
	Sequence uint64 `json:"sequence"`
	// Stage is Stable, Distributing, Retiring or Withdrawing; Message says what happens next, and when.
	Stage   string `json:"stage"`
	Message string `json:"message"`
	Paused  bool   `json:"paused,omitempty"`
	// Signing is the ID of the authority that signs. From goes and To stays; empty while Stable.
	Signing string `json:"signing,omitempty"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	// Started is when the rotation began, Since when its stage did, Retire when From is dropped.
	Started *time.Time `json:"started,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Retire  *time.Time `json:"retire,omitempty"`
	// Without are nodes that are not waited for, Waiting who is.
	Without     []string  `json:"without,omitempty"`
	Waiting     []Waiting `json:"waiting,omitempty"`
	Authorities []Issuer  `json:"authorities"`
	// JWTKeys are the IDs of the keys of JWT-SVIDs, the one that signs last.
	JWTKeys []string `json:"jwtKeys,omitempty"`
	// Store is why the authority could not be read or written when that was last tried: this replica may be behind.
	Store string `json:"store,omitempty"`
	// Leads tells whether this replica takes the steps.
	Leads bool `json:"leads"`
}

// Issuer is one authority of a Status.
type Issuer struct {
	ID      string `json:"id"`
	Source  string `json:"source"`
	Subject string `json:"subject"`
	// Signs is set for the one that signs, Usable where its key is here.
	Signs    bool      `json:"signs"`
	Usable   bool      `json:"usable"`
	Created  time.Time `json:"created"`
	NotAfter time.Time `json:"notAfter"`
	// Roots counts the certificates that verify it.
	Roots int `json:"roots"`
}

// Status looks at how things stand now.
func (m *Machine) Status() Status {
	now, s := m.cfg.Now(), m.cfg.Authority.State()
	r := s.Rotation
	out := Status{
		TrustDomain: m.cfg.TrustDomain.Name(), Sequence: s.Sequence, Stage: title(r.Stage), Paused: r.Paused, Signing: s.Signing,
		From: r.From, To: r.To, Started: moment(r.Started), Since: moment(r.Since), Retire: moment(r.Retire), Without: r.Without,
		Authorities: []Issuer{}, Leads: m.cfg.Leads(),
	}
	if err := m.cfg.StoreErr(); err != nil {
		out.Store = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	for _, td := range m.cfg.Aliases {
		out.Aliases = append(out.Aliases, td.Name())
	}
	for i := range s.Generations {
		g := &s.Generations[i]
		out.Authorities = append(out.Authorities, Issuer{
			ID: g.ID, Source: g.Source, Subject: g.Issuer.Subject.String(), Signs: g.ID == s.Signing, Usable: g.Key != nil,
			Created: g.Created, NotAfter: g.Issuer.NotAfter.UTC(), Roots: len(g.Roots),
		})
	}
	for _, k := range s.JWT {
		out.JWTKeys = append(out.JWTKeys, k.ID)
	}
	census := m.cfg.Barrier.Census(m.refs, int64(s.Sequence))
	switch {
	case r.Stage == authority.Distributing:
		out.Waiting = m.waits(&s, &census, now)
	case r.Stage != authority.Stable && r.Retire.IsZero():
		for _, why := range census.Replicas {
			out.Waiting = append(out.Waiting, Waiting{Why: why})
		}
	}
	out.Message = m.message(&s, out.Waiting, now)
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// message says what happens next.
func (m *Machine) message(s *authority.State, waits []Waiting, now time.Time) string {
	r := s.Rotation
	switch {
	case s.Signing == "":
		return "there is no authority yet"
	case r.Stage == authority.Stable:
		if g := generation(s, s.Signing); g != nil && m.nearsEnd(g, now) && g.Source == authority.Mounted {
			return fmt.Sprintf("authority %s ends at %s: mount another one", g.ID, g.Issuer.NotAfter.UTC().Format(time.RFC3339))
		}
		return "no rotation is under way"
	case r.Stage == authority.Distributing && r.Paused:
		return "paused; `fairlead ca resume` goes on, `fairlead ca abort` goes back"
	case r.Stage == authority.Distributing:
		return fmt.Sprintf("waiting for %d acknowledgements before authority %s signs", len(waits), r.To)
	case r.Retire.IsZero():
		return fmt.Sprintf("waiting until no replica signs with authority %s", r.From)
	case r.Paused:
		return fmt.Sprintf("paused; authority %s stays trusted until `fairlead ca resume`", r.From)
	}
	return fmt.Sprintf("authority %s is dropped at %s", r.From, r.Retire.UTC().Format(time.RFC3339))
}

// Away names the nodes that are waited for and not connected.
func (s *Status) Away() []string {
	var out []string
	for _, w := range s.Waiting {
		if w.Away != nil {
			out = append(out, w.Node)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
