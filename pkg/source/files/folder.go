package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
)

// DefaultMaxFile is the size in bytes from which on a file is refused.
const DefaultMaxFile = 10 << 20

// reader reads files into results.
type reader struct {
	convert *convert.Files
	maxFile int64
}

// stamp tells two states of a file apart without reading it.
type stamp struct {
	size     int64
	modified time.Time
	device   uint64
	inode    uint64
	err      string
}

// manifest tells whether a name is one to read. Editors' temporary files end otherwise or begin with a dot.
func manifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return !hidden(name)
	}
	return false
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") }

// listing is what a walk over a folder finds.
type listing struct {
	files map[string]stamp
	// folders are those to watch; the values tell two folders of one name apart.
	folders map[string]stamp
}

// list walks a folder. It follows links, and reads no folder twice. Hidden names are left out, which keeps the two other
// names away that a mounted ConfigMap gives to each file (..data and the folder that it points to).
func list(dir string) listing {
	l := listing{files: map[string]stamp{}, folders: map[string]stamp{}}
	l.walk(dir, map[stamp]bool{})
	return l
}

func (l *listing) walk(dir string, seen map[stamp]bool) {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return
	}
	st := stampOf(info)
	id := stamp{device: st.device, inode: st.inode}
	if seen[id] {
		return
	}
	seen[id], l.folders[dir] = true, id
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.files[dir] = stamp{err: err.Error()}
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if hidden(e.Name()) || !e.IsDir() && e.Type()&fs.ModeSymlink == 0 && !manifest(e.Name()) {
			continue
		}
		l.entry(path, e, seen)
	}
}

func (l *listing) entry(path string, e fs.DirEntry, seen map[stamp]bool) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink == 0:
		// It went away since the folder was listed.
	case err != nil:
		if manifest(path) || manifest(e.Name()) {
			l.files[path] = stamp{err: err.Error()}
		}
	case info.IsDir():
		l.walk(path, seen)
	case manifest(e.Name()):
		l.files[path] = stampOf(info)
		if e.Type()&fs.ModeSymlink != 0 {
			l.target(path)
		}
	}
}

// target adds the folder that a link leads to, so that edits there are seen.
func (l *listing) target(path string) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return
	}
	dir := filepath.Dir(real)
	if info, err := os.Stat(dir); err == nil {
		if _, has := l.folders[dir]; !has {
			st := stampOf(info)
			l.folders[dir] = stamp{device: st.device, inode: st.inode}
		}
	}
}

// read reads one file. A file that cannot be read is a Problem.
func (r *reader) read(path string) convert.Result {
	data, err := r.bytes(path)
	if err != nil {
		return convert.Result{Problems: []source.Problem{{File: path, Message: err.Error()}}}
	}
	return r.convert.Convert(path, data)
}

func (r *reader) bytes(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", errors.Unwrap(err))
	}
	if info.IsDir() {
		_, err := os.ReadDir(path)
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("this is not a regular file; it is not read")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", errors.Unwrap(err))
	}
	defer f.Close()
	return r.limited(f)
}

// limited reads up to the limit. The size of a file is not asked for: it may grow meanwhile.
func (r *reader) limited(from io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, r.maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	if int64(len(data)) > r.maxFile {
		return nil, fmt.Errorf("the file is larger than %.1f MiB, the largest that is read; divide it", float64(r.maxFile)/(1<<20))
	}
	return data, nil
}

// Contents is what files hold.
type Contents struct {
	Updates  []source.Update
	Problems []source.Problem
	// Notes name objects that are none of Fairlead's business.
	Notes []source.Problem
}

// Load reads files, folders and, for "-", stdin, once. A path that does not exist is a Problem.
func Load(cfg Config, stdin io.Reader, paths ...string) Contents {
	r, s := cfg.reader(), newStore()
	readings := map[string]*contents{}
	for _, path := range paths {
		if path == "-" {
			var result convert.Result
			if data, err := r.limited(stdin); err != nil {
				result.Problems = []source.Problem{{File: "stdin", Message: err.Error()}}
			} else {
				result = r.convert.Convert("stdin", data)
			}
			readings["stdin"] = s.read("stdin", result)
			continue
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			for file := range list(path).files {
				readings[file] = s.read(file, r.read(file))
			}
			continue
		}
		readings[path] = s.read(path, r.read(path))
	}
	var out Contents
	out.Updates, out.Problems = s.commit(readings)
	for _, c := range readings {
		out.Notes = append(out.Notes, c.notes...)
	}
	slices.SortStableFunc(out.Notes, func(a, b source.Problem) int { return strings.Compare(a.File, b.File) })
	return out
}
