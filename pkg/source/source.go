// Package source is what the readers of the outside world share: the shape of a change, and where it goes.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// Its sub-packages files and kube are the only readers. They convert (package convert) and hand over; they keep no state
// that another stage reads.
package source

import "fairlead.io/fairlead/pkg/model"

// Update is one change of one object.
type Update struct {
	Ref model.Ref
	// Object is a pointer to a model type (*model.Service, *model.Object[v1alpha1.VirtualServiceSpec] …); nil when the
	// object is gone.
	Object any
}

// Sink takes what a reader reads. A reader calls it from one goroutine.
type Sink interface {
	// Apply hands over a burst of changes, and how far the reader has read with them.
	Apply(updates []Update, at Position)
	// Synced says that all that was there at the start has been applied.
	Synced()
	// Report tells of something that belongs to no valid object, such as a file that does not parse. A Problem with an
	// empty Message withdraws all former ones of its File.
	Report(Problem)
}

// Position says how far a reader has read, in resourceVersions, or in a counter of its own where there are none. Neither
// number goes back.
type Position struct {
	// Seen is the highest resourceVersion seen of any kind, deletions and bookmarks included.
	Seen uint64
	// Complete is the resourceVersion up to which every kind has been read. It is at most Seen, and equal to it where all
	// kinds are read together.
	Complete uint64
}

// Problem is a fault in the input that has no object to carry it.
type Problem struct {
	File    string
	Line    int
	Ref     model.Ref
	Message string
}
