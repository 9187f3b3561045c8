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
	// Apply hands over a burst of changes. position is the reader's watch position after them: the highest
	// resourceVersion seen, deletions and bookmarks included, or a counter where there is none.
	Apply(updates []Update, position uint64)
	// Synced says that all that was there at the start has been applied.
	Synced()
	// Report tells of something that belongs to no valid object, such as a file that does not parse. A Problem with an
	// empty Message withdraws all former ones of its File.
	Report(Problem)
}

// Problem is a fault in the input that has no object to carry it.
type Problem struct {
	File    string
	Line    int
	Ref     model.Ref
	Message string
}
