package enforce

import (
	"net/netip"

	"fairlead.io/fairlead/pkg/node/datapath"
)

// Kernel is what is written to: a datapath.Datapath. A write that fails may have been done in part, and is repeated or undone. What is
// deleted may be missing already.
type Kernel interface {
	PutAddress(netip.Addr, datapath.Address) error
	DeleteAddress(netip.Addr) error
	Addresses(fn func(netip.Addr, datapath.Address) bool) error

	// PutSubject has a Set hold for an identity; 0 is none.
	PutSubject(identity, set uint32) error
	Subjects(fn func(identity, set uint32) bool) error

	PutParts(set uint32, parts datapath.Parts) error
	DeleteParts(set uint32) error
	Parts(fn func(set uint32, parts datapath.Parts) bool) error
	// Rules and ranges are written in the order that is given.
	PutRules([]datapath.Rule) error
	DeleteRules([]datapath.RuleKey) error
	Rules(fn func(datapath.Rule) bool) error
	PutRanges([]datapath.Range) error
	DeleteRanges([]datapath.RangeKey) error
	Ranges(fn func(datapath.Range) bool) error

	// Bump has every flow that is known judged anew.
	Bump() error
	// Settle returns when no program reads what was there before the call.
	Settle() error
}

// stem is a class of one identity in one direction and family of a Set.
type stem struct {
	set, identity uint32
	side
}

func (s stem) key(p portKey) datapath.RuleKey {
	return datapath.RuleKey{Set: s.set, Number: s.identity, Class: datapath.ClassIdentity, Direction: s.d, Family: s.f, PortKey: p}
}
