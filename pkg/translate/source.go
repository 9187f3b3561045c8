package translate

import (
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// Source shows the published tables as snapshots of resources.
func (o *Outputs) Source() snapshot.Source { return published{o} }

type published struct{ o *Outputs }

// Latest implements snapshot.Source.
func (p published) Latest() snapshot.Snapshot {
	s := p.o.engine.Snapshot()
	if s.Seq == 0 {
		return nil
	}
	return view{p.o, s}
}

// Ready implements snapshot.Source: the empty state that an engine begins with is followed by the first published one.
func (p published) Ready() <-chan struct{} {
	if s := p.o.engine.Snapshot(); s.Seq == 0 {
		return s.Next()
	}
	now := make(chan struct{})
	close(now)
	return now
}

// Want implements snapshot.Source. The tables can do nothing: whoever wires a reader that can puts it before.
func (p published) Want(uint64) bool { return true }

// view is one published state.
type view struct {
	o *Outputs
	s *table.Snapshot
}

func (v view) Seq() uint64            { return v.s.Seq }
func (v view) Position() uint64       { return v.s.Position }
func (v view) Complete() uint64       { return v.s.Complete }
func (v view) Newer() <-chan struct{} { return v.s.Next() }

func (v view) Get(k snapshot.Key) *snapshot.Resource {
	t, ok := v.o.byType[k.Type]
	if !ok {
		return nil
	}
	r, _ := t.Get(v.s, rowKey(k.Name, k.Variant))
	return r
}

// Lookup implements snapshot.Snapshot. The variants of a name stand right behind it, a space being smaller than what a
// name may hold: most have none, and are found with one search.
func (v view) Lookup(variants []string, typeURL, name string) *snapshot.Resource {
	t, ok := v.o.byType[typeURL]
	if !ok {
		return nil
	}
	r, _, next := t.GetNext(v.s, name)
	if variantOf(next, name) {
		r = snapshot.Pick(v, variants, typeURL, name)
	}
	if r == nil && slices.Contains(variants, snapshot.GRPCVariant) {
		return v.o.grpc.made(v.s, typeURL, name)
	}
	return r
}

// Shared implements snapshot.Snapshot. Where there is nothing, gRPC clients may still have something made for them.
func (v view) Shared(typeURL, name string) (*snapshot.Resource, bool) {
	t, ok := v.o.byType[typeURL]
	if !ok {
		return nil, false
	}
	r, _, next := t.GetNext(v.s, name)
	return r, r != nil && !variantOf(next, name)
}

// variantOf tells whether a row is a variant of a name.
func variantOf(row, name string) bool {
	return len(row) > len(name) && row[len(name)] == ' ' && row[:len(name)] == name
}

// Prefix implements snapshot.Snapshot.
func (v view) Prefix(typeURL, prefix string, fn func(*snapshot.Resource) bool) {
	if t, ok := v.o.byType[typeURL]; ok {
		t.Prefix(v.s, prefix, func(_ string, r *snapshot.Resource) bool { return fn(r) })
	}
}

func (v view) Range(typeURL string, fn func(*snapshot.Resource) bool) {
	if t, ok := v.o.byType[typeURL]; ok {
		t.Range(v.s, func(_ string, r *snapshot.Resource) bool { return fn(r) })
	}
}

// Scope implements snapshot.Snapshot.
func (v view) Scope(node string) *model.NodeScope {
	s, _ := v.o.scopes.Get(v.s, node)
	return s
}

func (v view) ChangesSince(seq uint64) ([]snapshot.Key, bool) {
	changes, ok := v.s.ChangesSince(seq)
	if !ok {
		return nil, false
	}
	keys := make([]snapshot.Key, 0, len(changes))
	for _, c := range changes {
		if c.Table == v.o.grpc.names.Name() {
			keys = append(keys, v.o.grpc.keys(c.Key)...)
		}
		if typeURL, ok := v.o.types[c.Table]; ok {
			name, variant, _ := strings.Cut(c.Key, " ")
			keys = append(keys, snapshot.Key{Type: typeURL, Name: name, Variant: variant})
		}
	}
	return keys, true
}

// rowKey is the key of a resource in its table. Resource names have no spaces.
func rowKey(name, variant string) string {
	if variant == "" {
		return name
	}
	return name + " " + variant
}
