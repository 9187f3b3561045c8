package table

import (
	"slices"
	"time"
)

// Read is one recorded read: what was asked of which table, and whether there is something now.
type Read struct {
	Table   string `json:"table"`
	Index   string `json:"index,omitempty"`
	Kind    string `json:"kind"` // row, list, any, all, lengths
	Key     string `json:"key,omitempty"`
	Present bool   `json:"present"`
}

// WhyInfo says how a row of a derived table came to be. Cause, At and Took need Options.Why.
type WhyInfo struct {
	Table   string        `json:"table"`
	Key     string        `json:"key"`
	Present bool          `json:"present"` // has a row now
	Reads   []Read        `json:"reads"`
	Runs    int           `json:"runs"`
	Pass    uint64        `json:"pass"` // number of the pass of its last run (32 bits of it)
	Dirty   bool          `json:"dirty,omitempty"`
	Cause   *Read         `json:"cause,omitempty"` // the first changed read that made it run; nil: it became a candidate
	At      time.Time     `json:"at,omitzero"`
	Took    time.Duration `json:"took,omitempty"`
}

// TableStat is the state of one table. Time is the sum over all its runs.
type TableStat struct {
	Name         string        `json:"name"`
	Kind         string        `json:"kind"` // source, derived
	Urgent       bool          `json:"urgent,omitempty"`
	Rows         int           `json:"rows"`
	Candidates   int           `json:"candidates,omitempty"`
	IndexKeys    int           `json:"indexKeys,omitempty"`
	Dependencies int           `json:"dependencies,omitempty"` // recorded reads of all its keys
	Changes      uint64        `json:"changes"`
	Runs         uint64        `json:"runs,omitempty"`
	Panics       uint64        `json:"panics,omitempty"`
	Deferred     uint64        `json:"deferred,omitempty"` // runs that an interruption had to leave to the pass
	Time         time.Duration `json:"time,omitempty"`
}

// PassStat counts passes.
type PassStat struct {
	Passes        uint64        `json:"passes"`
	Interruptions uint64        `json:"interruptions"`
	Last          time.Duration `json:"last"`
	Total         time.Duration `json:"total"`
}

// DumpRow is a row for people to look at.
type DumpRow struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// inspector is a table without its type.
type inspector interface {
	Name() string
	stats() TableStat
	dump() []DumpRow
	whyKey(key string) (compID, bool, bool) // computation, has a row, known
}

// whyRecord is kept for each key when Options.Why is set.
type whyRecord struct {
	owner depOwner // of the cause; nil when it became a candidate
	key   string
	kind  depKind
	at    time.Time
	took  time.Duration
}

func (w *whyRecord) blame(d *dep) {
	w.owner, w.key, w.kind = nil, "", 0
	if d != nil {
		w.owner, w.key, w.kind = d.owner, d.key, d.kind
	}
}

func (w *whyRecord) ran(start, end time.Time) { w.at, w.took = start, end.Sub(start) }

func (e *Engine) whyOf(id compID) *whyRecord {
	w := e.why[id]
	if w == nil {
		w = &whyRecord{}
		e.why[id] = w
	}
	return w
}

// Why tells what a key of a derived table read and why it last ran; from any goroutine but a derived function. ok
// is false if there is no such table or the key is no candidate of it.
func (e *Engine) Why(table, key string) (info WhyInfo, ok bool) {
	e.look(func() {
		i := slices.IndexFunc(e.tables, func(t inspector) bool { return t.Name() == table })
		if i < 0 {
			return
		}
		id, present, found := e.tables[i].whyKey(key)
		if ok = found; !ok {
			return
		}
		c := e.comps.at(uint32(id))
		info = WhyInfo{Table: table, Key: key, Present: present, Runs: int(c.runs), Pass: uint64(c.pass), Dirty: c.dirty}
		for _, dep := range c.reads {
			d := e.deps.at(uint32(dep))
			info.Reads = append(info.Reads, d.owner.describe(d.kind, d.key))
		}
		if w := e.why[id]; w != nil {
			info.At, info.Took = w.at, w.took
			if w.owner != nil {
				cause := w.owner.describe(w.kind, w.key)
				info.Cause = &cause
			}
		}
	})
	return info, ok
}

// Stats describes all tables in flow order; from any goroutine but a derived function.
func (e *Engine) Stats() (out []TableStat) {
	e.look(func() {
		for _, t := range e.tables {
			out = append(out, t.stats())
		}
	})
	return out
}

// PassStats counts the passes so far; from any goroutine but a derived function.
func (e *Engine) PassStats() (p PassStat) {
	e.look(func() { p = e.passes })
	return p
}

// Dump returns the rows of a table by key; ok is false if there is no such table. From any goroutine but a derived
// function.
func (e *Engine) Dump(table string) (rows []DumpRow, ok bool) {
	e.look(func() {
		for _, t := range e.tables {
			if t.Name() == table {
				rows, ok = t.dump(), true
			}
		}
	})
	return rows, ok
}

func (t *table[V]) stats() TableStat {
	s := t.stat
	s.Name, s.Kind, s.Urgent, s.Rows = t.name, "source", t.urgent, t.n
	for _, ix := range t.indexes {
		s.IndexKeys += len(ix.buckets)
	}
	return s
}

func (d *Derived[V]) stats() TableStat {
	s := d.table.stats()
	s.Kind, s.Time = "derived", d.stage.spent
	for _, rw := range d.rows {
		if rw.comp != 0 {
			s.Candidates++
			s.Dependencies += len(d.e.comps.at(uint32(rw.comp)).reads)
		}
	}
	return s
}

func (t *table[V]) dump() []DumpRow {
	rows := make([]DumpRow, 0, t.n)
	for _, en := range t.sorted() {
		rows = append(rows, DumpRow{en.Key, en.Value})
	}
	return rows
}

func (t *table[V]) whyKey(key string) (compID, bool, bool) {
	rw := t.rows[key]
	if rw == nil || rw.comp == 0 {
		return 0, false, false
	}
	return rw.comp, rw.present, true
}
