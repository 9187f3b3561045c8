package table

// Batch is a set of changes that becomes visible together. It belongs to one goroutine until it is submitted.
type Batch struct {
	e        *Engine
	parts    []batchPart // by source; nil where nothing changes
	pos      uint64
	complete uint64
	sent     bool
}

// batchPart is the part of a batch for one source (part[V] without its type).
type batchPart interface {
	urgent() bool
	apply()
	absorb(later batchPart) // later's operations win
	yield(newer batchPart)  // drops the operations that newer overrides
	size() int              // operations
}

// NewBatch makes an empty batch.
func (e *Engine) NewBatch() *Batch { return &Batch{e: e} }

// Position says that p is the highest watch position told with this batch or before. The highest one counts.
func (b *Batch) Position(p uint64) { b.pos = max(b.pos, p) }

// Complete says that with this batch everything up to watch position p has been told. The highest one counts.
func (b *Batch) Complete(p uint64) { b.complete = max(b.complete, p) }

// hurries reports whether the batch changes something, and only urgent sources.
func (b *Batch) hurries() bool {
	some := false
	for _, p := range b.parts {
		if p != nil {
			if !p.urgent() {
				return false
			}
			some = true
		}
	}
	return some
}

func (b *Batch) absorb(later *Batch) {
	b.pos = max(b.pos, later.pos)
	b.complete = max(b.complete, later.complete)
	for i, p := range later.parts {
		if p == nil {
			continue
		}
		for len(b.parts) <= i {
			b.parts = append(b.parts, nil)
		}
		if b.parts[i] == nil {
			b.parts[i] = p
		} else {
			b.parts[i].absorb(p)
		}
	}
}

// Submit hands a batch to the engine, from any goroutine. It joins what waits: the last write of a key wins. The
// batch must not be used again.
func (e *Engine) Submit(b *Batch) {
	b.send()
	e.mu.Lock()
	if b.hurries() {
		if e.waiting != nil { // b goes first, so what it overrides must not come after it
			for i, p := range b.parts {
				if p != nil && i < len(e.waiting.parts) && e.waiting.parts[i] != nil {
					e.waiting.parts[i].yield(p)
				}
			}
		}
		e.hurried = join(e.hurried, b)
		e.urgent.Store(true)
	} else {
		e.waiting = join(e.waiting, b)
	}
	e.mu.Unlock()
	e.nudge()
}

func (b *Batch) send() {
	if b.sent {
		panic("table: batch submitted twice")
	}
	b.sent = true
}

// Waiting counts the writes that no pass has taken yet; from any goroutine.
func (e *Engine) Waiting() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range []*Batch{e.waiting, e.hurried} {
		if b == nil {
			continue
		}
		for _, p := range b.parts {
			if p != nil {
				n += p.size()
			}
		}
	}
	return n
}

func join(waiting, b *Batch) *Batch {
	if waiting == nil {
		return b
	}
	waiting.absorb(b)
	return waiting
}

func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// take returns what the next pass applies; nil when nothing waits. When both an urgent batch and others wait the
// urgent one gets a pass of its own, but not twice in a row: urgent changes may not starve the others.
func (e *Engine) take() *Batch {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hurried != nil && e.waiting != nil && !e.overtook && e.snap.Load().Seq > 0 { // the first snapshot has everything
		e.overtook = true
		return e.overtake()
	}
	e.overtook = false
	b := e.hurried
	if e.waiting != nil {
		b = join(b, e.waiting) // what is left of waiting is newer than hurried wherever both write
	}
	e.hurried, e.waiting = nil, nil
	e.urgent.Store(false)
	return b
}

// takeUrgent returns the waiting urgent batch for an interruption, or nil.
func (e *Engine) takeUrgent() *Batch {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.overtake()
}

// overtake takes the urgent batch. What it says of positions is true only when what it overtakes has been applied too, so
// both claims move on to the waiting batch. The caller holds mu.
func (e *Engine) overtake() *Batch {
	b := e.hurried
	e.hurried = nil
	e.urgent.Store(false)
	if b != nil && e.waiting != nil {
		e.waiting.pos = max(e.waiting.pos, b.pos)
		e.waiting.complete = max(e.waiting.complete, b.complete)
		e.reachedBy(b.pos)
		b.pos, b.complete = 0, 0
	}
	return b
}

// reachedBy raises the highest position applied. Only the goroutine that is about to apply calls it.
func (e *Engine) reachedBy(pos uint64) { e.reached = max(e.reached, pos) }
