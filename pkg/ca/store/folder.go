package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// stateFile is the name of the file in a folder, and of the entry in a Secret.
const stateFile = "state.json"

// Folder keeps a state in a folder of one machine, for a server without a cluster. Several processes may use it.
type Folder struct {
	dir string
	mu  sync.Mutex // guards err
	err error
}

// NewFolder makes a store of a folder, which is made when something is first saved.
func NewFolder(dir string) *Folder { return &Folder{dir: dir} }

func (f *Folder) path() string { return filepath.Join(f.dir, stateFile) }

// Err is why the file could not be read when it last changed; nil when it could.
func (f *Folder) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Load implements authority.Store.
func (f *Folder) Load(context.Context) (authority.State, authority.Version, error) {
	s, v, err := f.load()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = nil
	if !errors.Is(err, authority.ErrNone) {
		f.err = err
	}
	return s, v, err
}

func (f *Folder) load() (authority.State, authority.Version, error) {
	b, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return authority.State{}, "", authority.ErrNone
	}
	if err != nil {
		return authority.State{}, "", fmt.Errorf("read authority: %w", err)
	}
	s, err := Decode(b)
	if err != nil {
		return authority.State{}, "", fmt.Errorf("read %s: %w", f.path(), err)
	}
	return s, contentVersion(b), nil
}

func contentVersion(b []byte) authority.Version {
	sum := sha256.Sum256(b)
	return authority.Version(hex.EncodeToString(sum[:16]))
}

// Save implements authority.Store.
func (f *Folder) Save(_ context.Context, s authority.State, version authority.Version) (authority.Version, error) {
	b, err := Encode(s)
	if err != nil {
		return "", fmt.Errorf("write authority: %w", err)
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return "", fmt.Errorf("write authority: %w", err)
	}
	unlock, err := f.lock()
	if err != nil {
		return "", fmt.Errorf("write authority: %w", err)
	}
	defer unlock()
	_, current, err := f.load()
	if err != nil && !errors.Is(err, authority.ErrNone) {
		return "", err // what cannot be read is not overwritten
	}
	if current != version {
		return "", authority.ErrConflict
	}
	if err := replace(f.path(), b); err != nil {
		return "", fmt.Errorf("write authority: %w", err)
	}
	return contentVersion(b), nil
}

// lock keeps other processes from saving. The lock goes with the file descriptor, so a process that dies leaves none.
func (f *Folder) lock() (unlock func(), err error) {
	l, err := os.OpenFile(filepath.Join(f.dir, ".lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(l.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("lock %s: %w", l.Name(), err)
	}
	return func() { l.Close() }, nil
}

// replace writes a file that is either the old one or the new one, whatever happens, and that only we may read.
func replace(path string, b []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".state-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Watch implements authority.Store. A file that cannot be read is no news: the last state stays, and Err says why.
func (f *Folder) Watch(ctx context.Context, fn func(authority.State, authority.Version)) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("watch authority: %w", err)
	}
	var last authority.Version
	return watchFolder(ctx, f.dir, func() {
		if s, v, err := f.Load(ctx); err == nil && v != last {
			fn(s, v)
			last = v
		}
	})
}

// recheck is how often a folder is looked at without an event: some file systems have none, and a folder may be made anew.
const recheck = 30 * time.Second

// watchFolder calls fn at once, and again when something in the folder may have changed.
func watchFolder(ctx context.Context, dir string, fn func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch folder %s: %w", dir, err)
	}
	defer watcher.Close()
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		_ = watcher.Add(dir) // again, because a folder that was made anew is another one; fn says what is missing
		fn()
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
		case <-watcher.Errors: //nolint:errcheck // events may be lost: look
		case <-tick.C:
		}
	}
}
