package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
)

// followed is what Watch has told.
type followed struct {
	mu    sync.Mutex
	state authority.State
	calls int
}

func (f *followed) get() (authority.State, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.calls
}

// watch follows a store until the end of the test.
func watch(t *testing.T, s authority.Store) *followed {
	t.Helper()
	f := &followed{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Watch(ctx, func(s authority.State, _ authority.Version) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.state = s
			f.calls++
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	return f
}

// keeps is what any store has to do; open gives one more handle of the same place.
func keeps(t *testing.T, open func() authority.Store) {
	ctx := t.Context()
	a, b := open(), open()
	if _, _, err := a.Load(ctx); !errors.Is(err, authority.ErrNone) {
		t.Fatalf("an empty store loads: %v", err)
	}
	seen := watch(t, b)
	s := first(t)
	v, err := a.Save(ctx, s, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Save(ctx, first(t), ""); !errors.Is(err, authority.ErrConflict) {
		t.Errorf("a second first state: %v", err)
	}
	got, w, err := b.Load(ctx)
	if err != nil || w != v || !authority.Equal(s, got) {
		t.Errorf("loaded %v, %q, %v", got, w, err)
	}
	s.Sequence++
	v2, err := b.Save(ctx, s, w)
	if err != nil || v2 == v {
		t.Fatalf("save: %q, %v", v2, err)
	}
	if _, err := a.Save(ctx, s, v); !errors.Is(err, authority.ErrConflict) {
		t.Errorf("an old version is replaced: %v", err)
	}
	eventually(t, func() error {
		if got, _ := seen.get(); !authority.Equal(got, s) {
			return fmt.Errorf("watch has told %v", got)
		}
		return nil
	})
	late := watch(t, a) // who comes later is told too
	eventually(t, func() error {
		if got, n := late.get(); n == 0 || !authority.Equal(got, s) {
			return fmt.Errorf("watch has told %v", got)
		}
		return nil
	})
}

func TestMemory(t *testing.T) {
	m := store.NewMemory()
	keeps(t, func() authority.Store { return m })
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	keeps(t, func() authority.Store { return store.NewFolder(dir) })
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if i, err := e.Info(); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), i.Mode(), err)
		}
	}
	if len(entries) != 2 {
		t.Errorf("something was left behind: %v", entries)
	}
	if i, err := os.Stat(dir); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", i.Mode(), err)
	}
}

func TestFolderKeepsWhatIsGoodWhenTheFileBreaks(t *testing.T) {
	dir := t.TempDir()
	f := store.NewFolder(dir)
	s := first(t)
	v, err := f.Save(t.Context(), s, "")
	if err != nil {
		t.Fatal(err)
	}
	seen := watch(t, f)
	eventually(t, func() error {
		if _, n := seen.get(); n != 1 {
			return fmt.Errorf("told %d times", n)
		}
		return nil
	})
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if f.Err() == nil {
			return errors.New("a broken file is no error")
		}
		return nil
	})
	if got, n := seen.get(); n != 1 || !authority.Equal(got, s) {
		t.Errorf("told %d times: %v", n, got)
	}
	if _, err := f.Save(t.Context(), s, v); err == nil || errors.Is(err, authority.ErrConflict) {
		t.Errorf("what cannot be read is overwritten: %v", err)
	}
}

// Of many who start at once, one makes the authority.
func TestFolderHasOneFirst(t *testing.T) {
	dir := t.TempDir()
	oneFirst(t, 8, func(int) authority.Store { return store.NewFolder(dir) })
}

// oneFirst starts n authorities at once, each with a store of its own, and gives the root that all of them have.
func oneFirst(t *testing.T, n int, open func(i int) authority.Store) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ids := make([]string, n)
	var ready sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		a := authority.New(authority.Config{TrustDomain: td, Store: open(i)})
		wg.Go(func() {
			<-begin
			if err := a.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		ready.Go(func() {
			<-a.Ready()
			ids[i] = a.State().Signing
		})
	}
	close(begin)
	ready.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Errorf("replicas sign with %q", ids)
			break
		}
	}
	return ids[0]
}
