package table

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure an Engine. The zero value is usable.
type Options struct {
	Now        func() time.Time // default time.Now; only for durations and Why, never an input of a derived table
	Why        bool             // keep for each key when, how long and because of what it last ran (about 100 bytes a key)
	Strict     bool             // let a panic of a derived function through, for tests; otherwise it is logged and counted
	Logger     *slog.Logger     // default slog.Default()
	LogChanges int              // how many changes ChangesSince can look back; default 200,000
}

// Engine owns the tables of one flow. Declare sources, indexes, derived tables and outputs in flow order, then
// Run (or Apply). Declaring after the first pass panics.
type Engine struct {
	opts Options

	// Read-only after the first pass.
	tables  []inspector
	stages  []*stage
	outputs []publisher
	nsource int

	// own is held by whoever runs a pass or looks in; lookers asks a long pass to let go between two keys.
	own     sync.Mutex
	lookers atomic.Int32

	// Guarded by own.
	started  bool
	open     bool // nothing was held when the running pass took its batch
	deps     slab[dep]
	comps    slab[comp]
	why      map[compID]*whyRecord // nil unless Options.Why
	reader   Reader
	scratch  [2][]string // index keys of the old and the new value
	sorting  []depID
	position uint64 // every batch up to here is applied
	complete uint64 // everything up to here is applied: the highest claim of the batches up to position
	reached  uint64 // the highest position applied; above position when an urgent batch overtook a waiting one
	passes   PassStat
	pauseEnd time.Time     // when the last interruption ended, and
	pauseFor time.Duration // how long it took: a pass gets at least as much time as its interruptions
	log      changeLog

	// Guarded by mu.
	mu       sync.Mutex
	waiting  *Batch // may be nil
	hurried  *Batch // only touches urgent sources; may be nil
	overtook bool   // the last batch taken was an urgent one that went before a waiting one

	urgent  atomic.Bool // hurried != nil
	wake    chan struct{}
	held    atomic.Int32
	running atomic.Bool
	snap    atomic.Pointer[Snapshot]
}

// New makes an engine without tables. Its snapshot has Seq 0 until the first publication.
func New(opts Options) *Engine {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.LogChanges <= 0 {
		opts.LogChanges = 200_000
	}
	e := &Engine{opts: opts, wake: make(chan struct{}, 1)}
	if opts.Why {
		e.why = map[compID]*whyRecord{}
	}
	e.reader.e = e
	e.snap.Store(&Snapshot{next: make(chan struct{})})
	return e
}

// declare checks that a declaration comes in time and that its name is new, and returns its place in the flow.
func (e *Engine) declare(what, name string, t inspector) int {
	e.own.Lock()
	defer e.own.Unlock()
	if e.started {
		panic(fmt.Sprintf("table: %s %q declared after the first pass", what, name))
	}
	if t == nil {
		return 0
	}
	for _, o := range e.tables {
		if o.Name() == name {
			panic(fmt.Sprintf("table: two tables named %q", name))
		}
	}
	e.tables = append(e.tables, t)
	return len(e.tables)
}

// Hold keeps everything unpublished until Release has been called as often as Hold. Passes run meanwhile.
func (e *Engine) Hold() { e.held.Add(1) }

// Release undoes one Hold. After the last one Run publishes at once; a user of Apply publishes with the next Apply.
func (e *Engine) Release() {
	if n := e.held.Add(-1); n < 0 {
		panic("table: Release without Hold")
	} else if n == 0 {
		e.nudge()
	}
}

// look runs fn while no pass touches the tables; a running pass gives way between two keys.
func (e *Engine) look(fn func()) {
	e.lookers.Add(1)
	defer e.lookers.Add(-1)
	e.own.Lock()
	defer e.own.Unlock()
	fn()
}
