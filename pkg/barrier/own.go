package barrier

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// made is what the own rows are made of.
type made struct {
	statuses, contents uint64 // the states that were taken in
	source             snapshot.Snapshot
	keys               map[string]model.Ref // of the statuses' table
	parts              map[model.Ref]part
	refused            map[model.Ref][]Rejection
}

// part is what one object has a part in.
type part struct {
	digest    uint64
	resources int
}

func newMade() made {
	return made{keys: map[string]model.Ref{}, parts: map[model.Ref]part{}, refused: map[model.Ref][]Rejection{}}
}

// observe brings the own rows and clients up to the newest snapshot. The caller holds mu.
func (b *Barrier) observe() {
	snap := b.cfg.Engine.Snapshot()
	source := b.cfg.Source.Latest() // taken later, so never older: what a status speaks of is in it
	if snap.Seq > 0 && source != nil && (snap.Seq != b.made.statuses || source.Seq() != b.made.contents) {
		touched := b.contents(source)
		b.statuses(snap, source.Seq())
		for ref := range touched {
			if r := b.own.rows[ref]; r != nil {
				b.setOwn(r.status, source.Seq())
			}
		}
	}
	b.refusals()
	b.progress()
}

// contents takes in the resources that differ, and gives the objects that they belong to.
func (b *Barrier) contents(source snapshot.Snapshot) map[model.Ref]struct{} {
	m, touched := &b.made, map[model.Ref]struct{}{}
	old := m.source
	m.source = source
	var keys []snapshot.Key
	ok := false
	if old != nil {
		keys, ok = source.ChangesSince(m.contents)
	}
	m.contents = source.Seq()
	if !ok {
		return b.everyContent(old, source, touched)
	}
	for _, k := range keys {
		was, is := old.Get(k), source.Get(k)
		switch {
		case was == nil && is == nil:
		case was != nil && is != nil && was.Hash == is.Hash && slices.Equal(was.Origins, is.Origins):
		default:
			m.take(was, -1, touched)
			m.take(is, 1, touched)
		}
	}
	return touched
}

// everyContent is contents when nobody knows what differs.
func (b *Barrier) everyContent(old, source snapshot.Snapshot, touched map[model.Ref]struct{}) map[model.Ref]struct{} {
	for _, url := range b.cfg.Types {
		if old != nil {
			old.Range(url, func(r *snapshot.Resource) bool { b.made.take(r, -1, touched); return true })
		}
		source.Range(url, func(r *snapshot.Resource) bool { b.made.take(r, 1, touched); return true })
	}
	return touched
}

// take adds (n is 1) or removes (-1) a resource.
func (m *made) take(r *snapshot.Resource, n int, touched map[model.Ref]struct{}) {
	if r == nil {
		return
	}
	h := xxhash.New()
	for _, s := range []string{r.Type, r.Name, r.Variant} {
		_, _ = h.WriteString(s)
		_, _ = h.Write([]byte{0})
	}
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, r.Hash))
	for _, ref := range r.Origins {
		p := m.parts[ref]
		p.digest, p.resources = p.digest+uint64(n)*h.Sum64(), p.resources+n
		if m.parts[ref] = p; p.resources == 0 {
			delete(m.parts, ref)
		}
		touched[ref] = struct{}{}
	}
}

// statuses takes in what differs of what resolve says; state is that of the contents.
func (b *Barrier) statuses(snap *table.Snapshot, state uint64) {
	m, t := &b.made, b.cfg.Statuses
	changes, ok := snap.ChangesSince(m.statuses)
	ok = ok && m.statuses > 0
	m.statuses = snap.Seq
	if ok {
		for _, c := range changes {
			if c.Table == t.Name() {
				s, _ := t.Get(snap, c.Key)
				b.said(c.Key, s, state)
			}
		}
		return
	}
	for key := range m.keys {
		if _, still := t.Get(snap, key); !still {
			b.said(key, nil, state)
		}
	}
	t.Range(snap, func(key string, s *model.ObjectStatus) bool {
		b.said(key, s, state)
		return true
	})
	b.touchAll()
}

// said takes in one status; nil when there is none any more.
func (b *Barrier) said(key string, s *model.ObjectStatus, state uint64) {
	if s == nil {
		if ref, ok := b.made.keys[key]; ok {
			delete(b.made.keys, key)
			delete(b.own.rows, ref)
			b.tell(ref)
		}
		return
	}
	b.made.keys[key] = s.Ref
	if was := b.own.rows[s.Ref]; was != nil {
		state = was.changed // unless its contents have changed too
	}
	b.setOwn(s, state)
}

// setOwn makes an own row anew: its contents last changed in a state.
func (b *Barrier) setOwn(s *model.ObjectStatus, state uint64) {
	p, refused := b.made.parts[s.Ref], b.made.refused[s.Ref]
	b.own.set(&row{
		ref: s.Ref, uid: s.UID, generation: s.Generation, digest: p.digest, changed: state, status: s, resources: p.resources,
		rejected: refused[:min(len(refused), maxRejected)], more: max(0, len(refused)-maxRejected),
	})
	b.tell(s.Ref)
}

// tell lets peers and watches know that an own row is another.
func (b *Barrier) tell(ref model.Ref) {
	for f := range b.feeds {
		f.object(ref)
	}
	b.touch(ref)
}

// refusals takes in what own clients reject.
func (b *Barrier) refusals() {
	list := b.cfg.Push.Refusals()
	if len(list) == 0 && len(b.made.refused) == 0 {
		return
	}
	old := b.made.refused
	now := map[model.Ref][]Rejection{}
	for _, r := range list {
		for _, ref := range r.Origins {
			now[ref] = append(now[ref], r.Rejection)
		}
	}
	for ref, l := range now {
		slices.SortFunc(l, compareRejections)
		now[ref] = slices.Compact(l)
	}
	b.made.refused = now
	for ref := range old {
		b.refuse(ref, old[ref])
	}
	for ref := range now {
		b.refuse(ref, old[ref])
	}
}

func (b *Barrier) refuse(ref model.Ref, old []Rejection) {
	if r := b.own.rows[ref]; r != nil && !slices.Equal(old, b.made.refused[ref]) {
		b.setOwn(r.status, r.changed)
	}
}

// progress takes in how far own clients are.
func (b *Barrier) progress() {
	now := time.Now()
	there := map[uint64]struct{}{}
	for _, c := range b.cfg.Push.Clients() {
		there[c.ID] = struct{}{}
		if c.Settled > 0 {
			c.Settled = b.own.log.floor(c.Settled)
		}
		if was := b.own.clients[c.ID]; was == nil || was.Client != c || !was.gone.IsZero() {
			b.own.clients[c.ID] = &client{Client: c}
			b.moved(c.ID)
		}
	}
	for id, c := range b.own.clients {
		if _, ok := there[id]; !ok && c.gone.IsZero() {
			b.own.clients[id] = &client{Client: c.Client, gone: now}
			b.moved(id)
		}
	}
}

// moved lets peers and waiters know that an own client is further, new or gone.
func (b *Barrier) moved(id uint64) {
	b.dirty = true
	for f := range b.feeds {
		f.client(id)
	}
}
