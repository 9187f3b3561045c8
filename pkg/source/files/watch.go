package files

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// note takes an event down. An event about a known file means reading that file; any other, the folder.
func (s *Source) note(e fsnotify.Event) {
	if _, known := s.stamps[e.Name]; known && !e.Has(fsnotify.Remove) && !e.Has(fsnotify.Rename) {
		s.dirty[e.Name] = true
		return
	}
	if filepath.Dir(e.Name) == s.ancestor && !s.leadsToDir(e.Name) {
		return
	}
	// "..data" is what a mounted ConfigMap swaps; other hidden names are editors' own.
	if base := filepath.Base(e.Name); hidden(base) && !strings.HasPrefix(base, "..") && !s.leadsToDir(e.Name) {
		return
	}
	s.rescan = true
}

// leadsToDir tells whether path is the watched folder or one above it.
func (s *Source) leadsToDir(path string) bool {
	dir, err := filepath.Abs(s.cfg.Dir)
	return err == nil && (dir == path || strings.HasPrefix(dir, path+string(filepath.Separator)))
}

// candidates gives the files whose contents may have changed, with the stamp from before reading; nil for one that is gone.
func (s *Source) candidates() map[string]*stamp {
	out := map[string]*stamp{}
	if s.rescan {
		l := s.listAndWatch()
		for path, st := range l.files {
			if old, known := s.stamps[path]; !known || old != st || old == (stamp{}) {
				out[path] = &st
			}
		}
		for path := range s.stamps {
			if _, still := l.files[path]; !still {
				out[path] = nil
			}
		}
	}
	for path := range s.dirty {
		if _, has := out[path]; has {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err == nil:
			st := stampOf(info)
			out[path] = &st
		case os.IsNotExist(err):
			out[path] = nil
		default:
			out[path] = &stamp{err: err.Error()}
		}
	}
	return out
}

// listAndWatch walks the folder until every folder in it is watched: what came between the walk and the watch would be
// missed otherwise.
func (s *Source) listAndWatch() listing {
	for {
		l := list(s.cfg.Dir)
		if !s.watch(l.folders) {
			return l
		}
	}
}

// watch brings the watches in line with the folders, and tells whether it added any.
func (s *Source) watch(folders map[string]stamp) (added bool) {
	want := make(map[string]stamp, len(folders)+1)
	for dir, id := range folders {
		want[dir] = id
	}
	s.ancestor = ""
	if dir, err := filepath.Abs(s.cfg.Dir); err == nil {
		above := existing(filepath.Dir(dir))
		if info, err := os.Stat(above); err == nil && want[above] == (stamp{}) {
			st := stampOf(info)
			want[above], s.ancestor = stamp{device: st.device, inode: st.inode}, above
		}
	}
	alive := map[string]bool{} // the kernel ends the watch of a folder that is removed
	for _, dir := range s.watcher.WatchList() {
		alive[dir] = true
	}
	for dir, id := range s.watched {
		if w, still := want[dir]; !still || w != id || !alive[dir] {
			if alive[dir] {
				_ = s.watcher.Remove(dir) // it may have ended meanwhile
			}
			delete(s.watched, dir)
		}
	}
	for dir, id := range want {
		if _, has := s.watched[dir]; has {
			continue
		}
		if err := s.watcher.Add(dir); err != nil {
			if !os.IsNotExist(err) {
				s.log.Warn("cannot watch a folder; changes in it are not seen", "folder", dir, "error", err)
			}
			continue
		}
		s.watched[dir] = id
		added = true
	}
	return added
}

// existing is the nearest folder at or above a path that exists.
func existing(path string) string {
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
