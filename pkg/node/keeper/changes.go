package keeper

import (
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/node"
)

// remembered is how many changes are told one by one; who is further behind is told all there is.
const remembered = 4096

// Changes are what is another since a moment, so that whoever follows has work by what changes and not by what there is.
type Changes struct {
	// Seq is the moment: the next call is given it. It is never 0.
	Seq uint64
	// All says that SVIDs is all there is; else it has what is another since, nil for what is gone.
	All   bool
	SVIDs map[spiffeid.ID]*node.SVID
	// Node and Bundles are as they are now; nil when there are none.
	Node    *node.SVID
	Bundles *node.Bundles
}

// Changes gives what is another since the moment of former Changes, 0 for all there is, and a channel that is closed at the
// next change.
func (k *Keeper) Changes(since uint64) (Changes, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := k.forgotten + uint64(len(k.recent))
	c := Changes{Seq: last + 1, All: since == 0 || since-1 < k.forgotten || since-1 > last, Node: k.node.svid, Bundles: k.bundles}
	if c.All {
		c.SVIDs = make(map[spiffeid.ID]*node.SVID, len(k.entries))
		for id, e := range k.entries {
			if e.svid != nil {
				c.SVIDs[id] = e.svid
			}
		}
		return c, k.changed
	}
	ids := k.recent[since-1-k.forgotten:]
	c.SVIDs = make(map[spiffeid.ID]*node.SVID, len(ids))
	for _, id := range ids {
		c.SVIDs[id] = nil
		if e := k.entries[id]; e != nil {
			c.SVIDs[id] = e.svid // what has ended is dropped by expire, which is a change
		}
	}
	return c, k.changed
}

// record remembers that an identity is another. The oldest half is forgotten when there is too much.
func (k *Keeper) record(id spiffeid.ID) {
	if len(k.recent) >= remembered {
		n := copy(k.recent, k.recent[remembered/2:])
		k.recent = k.recent[:n]
		k.forgotten += remembered / 2
	}
	k.recent = append(k.recent, id)
}
