package files

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"

	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
)

// Half a write is told from a whole one by silence after it: settle is how long, and patience is when a folder that never
// falls silent is believed anyway.
const (
	settle   = 50 * time.Millisecond
	patience = 500 * time.Millisecond
	// racy is more than the tick of a file system's clock.
	racy = 20 * time.Millisecond
)

// Config says what to read.
type Config struct {
	// Dir is the folder to watch; Load does not use it.
	Dir string
	// Schemas checks custom objects and fills in their defaults; nil leaves that out.
	Schemas convert.Schemas
	// MaxFile is the size limit of a file in bytes; 0 means DefaultMaxFile.
	MaxFile int64
	// Log is told of notes and of what cannot be watched; nil for no log.
	Log *slog.Logger
}

func (c Config) reader() *reader {
	r := &reader{convert.NewFiles(c.Schemas), c.MaxFile}
	if r.maxFile <= 0 {
		r.maxFile = DefaultMaxFile
	}
	return r
}

// Source watches a folder.
type Source struct {
	cfg    Config
	reader *reader
	log    *slog.Logger

	// All below is run's.
	store    *store
	watcher  *fsnotify.Watcher
	watched  map[string]stamp // folders, by their identity
	ancestor string           // the folder above Dir that is watched for Dir's coming and going
	stamps   map[string]stamp
	dirty    map[string]bool // files to read again although their stamp may be the same
	rescan   bool
	position uint64
	// heldSince is when the change that is held back was first seen.
	heldSince time.Time
}

// New makes a source. It does nothing until Run.
func New(cfg Config) *Source {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{
		cfg: cfg, reader: cfg.reader(), log: log.With("source", "files"), store: newStore(),
		watched: map[string]stamp{}, stamps: map[string]stamp{}, dirty: map[string]bool{},
		// Clients show the positions of the server before a restart; one that began at zero again would seem to be behind
		// them, and what was edited since would wait.
		position: uint64(time.Now().UnixMicro()),
	}
}

// Run reads the folder into sink, says Synced, and goes on with changes until ctx ends, which is no error. A folder that
// does not exist at the start is one; one that goes away later takes its objects with it until it returns.
func (s *Source) Run(ctx context.Context, sink source.Sink) error {
	info, err := os.Stat(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("open folder: %s is not a folder", s.cfg.Dir)
	}
	s.watcher, err = fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch folder %s: %w", s.cfg.Dir, err)
	}
	defer s.watcher.Close()
	s.rescan = true
	s.pass(sink, true)
	sink.Synced()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		quiet := false
		select {
		case <-ctx.Done():
			return nil
		case e := <-s.watcher.Events:
			s.note(e)
			s.drain()
		case err := <-s.watcher.Errors:
			s.log.Warn("file events were lost; reading the folder again", "error", err)
			s.rescan = true
		case <-timer.C:
			quiet = true
		}
		if s.rescan || len(s.dirty) > 0 {
			if s.pass(sink, quiet || s.outOfPatience()) {
				timer.Stop()
			} else {
				timer.Reset(settle)
			}
		}
	}
}

func (s *Source) outOfPatience() bool {
	return !s.heldSince.IsZero() && time.Since(s.heldSince) > patience
}

// drain takes all events that are there already, so that a burst is one pass.
func (s *Source) drain() {
	for {
		select {
		case e := <-s.watcher.Events:
			s.note(e)
		default:
			return
		}
	}
}

// pass reads what may have changed and hands it over. Unless force is set it holds a change back that takes something
// away; it gives false then, and what it would have read is read again by the next pass.
func (s *Source) pass(sink source.Sink, force bool) bool {
	stamps := s.candidates()
	readings := make(map[string]*contents, len(stamps))
	taken := false
	for path, st := range stamps {
		if st == nil {
			readings[path] = nil
		} else {
			readings[path] = s.store.read(path, s.reader.read(path))
		}
		taken = taken || s.store.takes(path, readings[path])
	}
	if taken && !force {
		if s.heldSince.IsZero() {
			s.heldSince = time.Now()
		}
		return false
	}
	s.heldSince, s.rescan = time.Time{}, false
	clear(s.dirty)
	for path, st := range stamps {
		if st == nil {
			delete(s.stamps, path)
			continue
		}
		if time.Since(st.modified) < racy {
			*st = stamp{} // it may be written again within the clock's tick; a stamp that equals none makes it read again
		}
		s.stamps[path] = *st
		s.notes(path, readings[path])
	}
	s.hand(sink, readings)
	return true
}

func (s *Source) hand(sink source.Sink, readings map[string]*contents) {
	updates, reports := s.store.commit(readings)
	if len(updates) > 0 {
		s.position++
		sink.Apply(updates, source.Position{Seen: s.position, Complete: s.position})
	}
	for _, p := range reports {
		sink.Report(p)
	}
}

func (s *Source) notes(path string, c *contents) {
	for _, n := range c.notes {
		s.log.Info("skip object", "file", path, "line", n.Line, "object", n.Ref.String(), "reason", n.Message)
	}
}
