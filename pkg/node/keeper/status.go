package keeper

import (
	"slices"
	"strings"
	"time"
)

// States of an identity.
const (
	Valid   = "valid"
	Failing = "failing" // valid, but its renewal fails
	Pending = "pending" // there is none (any more)
)

// Identity is what may be told of an identity: no key is in it.
type Identity struct {
	ID string `json:"id"`
	// Node is set for the node's own.
	Node  bool     `json:"node,omitempty"`
	Pods  []string `json:"pods,omitempty"` // namespace/name
	State string   `json:"state"`
	// Serial, Authority, Issued, Ends, Renewal and Left are of the SVID; zero when there is none.
	Serial    string        `json:"serial,omitempty"`
	Authority string        `json:"authority,omitempty"`
	Issued    time.Time     `json:"issued,omitzero"`
	Ends      time.Time     `json:"ends,omitzero"`
	Renewal   time.Time     `json:"renewal,omitzero"`
	Left      time.Duration `json:"left,omitempty"`
	// Failures counts those in a row, Error is the latest.
	Failures int    `json:"failures,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Identities lists what there is: the node's own first, then by identity.
func (k *Keeper) Identities() []Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	wall := k.cfg.Wall()
	var out []Identity
	for e := range k.all {
		i := Identity{ID: k.name(e), Node: e == k.node, State: Pending, Failures: e.failures}
		for _, p := range e.pods {
			i.Pods = append(i.Pods, p.Namespace+"/"+p.Name)
		}
		if e.err != nil {
			i.Error = e.err.Error()
		}
		if svid := e.valid(wall); svid != nil {
			i.State = Valid
			if e.err != nil {
				i.State = Failing
			}
			i.Serial, i.Authority, i.Left = svid.Chain[0].SerialNumber.Text(16), svid.Authority, e.left(wall)
			i.Ends, i.Issued, i.Renewal = e.notAfter, e.notAfter.Add(-e.life), e.renewAt
		}
		out = append(out, i)
	}
	slices.SortFunc(out[1:], func(a, b Identity) int { return strings.Compare(a.ID, b.ID) })
	return out
}
