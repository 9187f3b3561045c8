package server

import (
	"log/slog"
	"maps"
	"slices"
	"sync"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
)

// sink hands what the source reads to the engine, and remembers what only people want to know: where an object was read,
// and what could not be read.
type sink struct {
	inputs *resolve.Inputs
	// release lets the engine publish.
	release func()
	log     *slog.Logger

	// Until the source has synced everything is kept here: the first pass then sees all of it, and no snapshot shows a part.
	// Only the source's goroutine touches these.
	first []source.Update
	at    source.Position

	synced   chan struct{} // closed by Synced
	mu       sync.Mutex    // guards what follows
	texts    map[model.Ref]*model.Text
	problems map[string][]source.Problem
}

func newSink(in *resolve.Inputs, release func(), log *slog.Logger) *sink {
	return &sink{inputs: in, release: release, log: log, synced: make(chan struct{}), texts: map[model.Ref]*model.Text{}, problems: map[string][]source.Problem{}}
}

// Apply implements source.Sink.
func (s *sink) Apply(updates []source.Update, at source.Position) {
	if s.remember(updates) {
		s.inputs.Apply(updates, at)
		return
	}
	s.first = append(s.first, updates...)
	s.at = at
}

// remember keeps the places of the objects and tells whether the source has synced.
func (s *sink) remember(updates []source.Update) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range updates {
		if o, ok := u.Object.(interface{ GetMeta() *model.Meta }); ok && o.GetMeta().Text != nil {
			s.texts[u.Ref] = o.GetMeta().Text
		} else {
			delete(s.texts, u.Ref)
		}
	}
	return s.isSynced()
}

// Synced implements source.Sink.
func (s *sink) Synced() {
	s.inputs.Apply(s.first, s.at)
	s.log.Info("synced", "objects", len(s.first), "position", s.at.Seen)
	s.first = nil
	s.release()
	close(s.synced)
}

// Report implements source.Sink.
func (s *sink) Report(p source.Problem) {
	if p.Message != "" {
		s.log.Warn("problem in a manifest", "file", p.File, "line", p.Line, "object", report.RefOf(p.Ref).String(), "problem", p.Message)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Message == "" {
		delete(s.problems, p.File)
		return
	}
	s.problems[p.File] = append(s.problems[p.File], p)
}

// isSynced tells whether all that was there at the start has been read.
func (s *sink) isSynced() bool {
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

// textOf gives the place of an object, or nil.
func (s *sink) textOf(ref model.Ref) *model.Text {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.texts[ref]
}

func (s *sink) allProblems() []report.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []report.Problem{}
	for _, file := range slices.Sorted(maps.Keys(s.problems)) {
		for _, p := range s.problems[file] {
			out = append(out, report.ProblemOf(p))
		}
	}
	return out
}
