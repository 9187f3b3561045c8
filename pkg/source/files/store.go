package files

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
)

// store holds what each file gave, and works out which objects there are. It does no input or output.
type store struct {
	files   map[string]*contents
	owners  map[model.Ref][]string // files that define an object, sorted: the first one wins
	current map[model.Ref]convert.Read
	// generations outlive their objects, so that one that comes back does not repeat an old number.
	generations map[model.Ref]generation
	made        map[model.Ref]*model.EndpointSlice // by this package, out of Pods
}

type generation struct {
	spec   string
	number int64
}

// contents is what one file gives.
type contents struct {
	objects  map[model.Ref]convert.Read
	problems []source.Problem
	notes    []source.Problem
	told     []source.Problem // what has been reported, with duplicates
}

func newStore() *store {
	return &store{
		files: map[string]*contents{}, owners: map[model.Ref][]string{}, current: map[model.Ref]convert.Read{},
		generations: map[model.Ref]generation{}, made: map[model.Ref]*model.EndpointSlice{},
	}
}

// read works out what a file now gives, without taking it over. While something in it cannot be read, the objects that
// it had stay.
func (s *store) read(path string, r convert.Result) *contents {
	c := &contents{objects: make(map[model.Ref]convert.Read, len(r.Objects)), problems: r.Problems, notes: r.Notes}
	for _, o := range r.Objects {
		if first, twice := c.objects[o.Ref]; twice {
			c.problems = append(c.problems, duplicate(path, o, path, first))
			continue
		}
		c.objects[o.Ref] = o
	}
	old := s.files[path]
	if old == nil {
		return c
	}
	for ref, was := range old.objects {
		now, still := c.objects[ref]
		if still && now.Meta.ResourceVersion == was.Meta.ResourceVersion || !still && len(c.problems) > 0 {
			c.objects[ref] = was
		}
	}
	return c
}

func duplicate(path string, o convert.Read, winner string, w convert.Read) source.Problem {
	return source.Problem{
		File: path, Line: o.Meta.Text.Line, Ref: o.Ref,
		Message: fmt.Sprintf("%s is defined twice; the one at %s:%d is used: remove one of them", o.Ref, winner, w.Meta.Text.Line),
	}
}

// takes tells whether a new reading takes something away from what a file gave, or finds new faults in it.
func (s *store) takes(path string, c *contents) bool {
	old := s.files[path]
	if old == nil {
		return false
	}
	if c == nil {
		return len(old.objects) > 0
	}
	for ref := range old.objects {
		if _, still := c.objects[ref]; !still {
			return true
		}
	}
	return len(c.problems) > 0 && !slices.Equal(c.problems, old.problems)
}

// commit takes over new readings (nil: the file is gone) and gives the changes, in the order of their names, and the
// reports to make.
func (s *store) commit(readings map[string]*contents) (updates []source.Update, reports []source.Problem) {
	affected := map[model.Ref]bool{}
	for path, c := range readings {
		if old := s.files[path]; old != nil {
			for ref := range old.objects {
				affected[ref] = true
				s.owners[ref] = slices.DeleteFunc(s.owners[ref], func(p string) bool { return p == path })
			}
			if c != nil {
				c.told = old.told
			} else {
				reports = append(reports, withdraw(path, old.told)...)
			}
		}
		if c == nil {
			delete(s.files, path)
			continue
		}
		s.files[path] = c
		for ref := range c.objects {
			affected[ref] = true
			s.owners[ref] = append(s.owners[ref], path)
		}
	}
	tell := map[string]bool{}
	for path, c := range readings {
		tell[path] = c != nil
	}
	endpoints := false
	for _, ref := range sortedRefs(affected) {
		endpoints = endpoints || makesEndpoints(ref.Kind)
		owners := s.owners[ref]
		slices.Sort(owners)
		for _, p := range owners {
			tell[p] = true
		}
		if u, changed := s.decide(ref, owners); changed {
			updates = append(updates, u)
		}
	}
	if endpoints {
		updates = append(updates, s.makeEndpoints()...)
	}
	for _, path := range slices.Sorted(maps.Keys(tell)) {
		if tell[path] {
			reports = append(reports, s.tell(path)...)
		}
	}
	return updates, reports
}

// decide makes the first owner's reading of an object the current one.
func (s *store) decide(ref model.Ref, owners []string) (source.Update, bool) {
	was, had := s.current[ref]
	if len(owners) == 0 {
		delete(s.owners, ref)
		delete(s.current, ref)
		return source.Update{Ref: ref}, had
	}
	now := s.files[owners[0]].objects[ref]
	if had && was.Meta == now.Meta {
		return source.Update{}, false
	}
	g := s.generations[ref]
	if g.spec != now.Spec {
		g = generation{now.Spec, g.number + 1}
		s.generations[ref] = g
	}
	if now.Meta.Generation != g.number {
		// A copy: the object may have been handed over before, by a file that another one hid in between.
		now = copyOf(now)
		now.Meta.Generation = g.number
		s.files[owners[0]].objects[ref] = now
	}
	s.current[ref] = now
	return source.Update{Ref: ref, Object: now.Object}, true
}

func copyOf(r convert.Read) convert.Read {
	v := reflect.New(reflect.TypeOf(r.Object).Elem())
	v.Elem().Set(reflect.ValueOf(r.Object).Elem())
	r.Object = v.Interface()
	r.Meta = r.Object.(interface{ GetMeta() *model.Meta }).GetMeta()
	return r
}

// tell gives the reports that bring the faults of a file up to date.
func (s *store) tell(path string) []source.Problem {
	c := s.files[path]
	if c == nil {
		return nil
	}
	all := slices.Clone(c.problems)
	for _, ref := range sortedRefs(c.objects) {
		if winner := s.owners[ref][0]; winner != path {
			all = append(all, duplicate(path, c.objects[ref], winner, s.files[winner].objects[ref]))
		}
	}
	if slices.Equal(all, c.told) {
		return nil
	}
	out := append(withdraw(path, c.told), all...)
	c.told = all
	return out
}

func withdraw(path string, told []source.Problem) []source.Problem {
	if len(told) == 0 {
		return nil
	}
	return []source.Problem{{File: path}}
}

func sortedRefs[V any](m map[model.Ref]V) []model.Ref {
	return slices.SortedFunc(maps.Keys(m), func(a, b model.Ref) int {
		switch {
		case a == b:
			return 0
		case a.Group+"/"+a.Kind+"/"+a.Key() < b.Group+"/"+b.Kind+"/"+b.Key():
			return -1
		}
		return 1
	})
}
