package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a sink that keeps what there is.
type world struct {
	mu       sync.Mutex
	objects  map[model.Ref]any
	problems map[string][]source.Problem
	position uint64
	synced   bool
	deleted  []model.Ref
	applies  int
}

func newWorld() *world {
	return &world{objects: map[model.Ref]any{}, problems: map[string][]source.Problem{}}
}

func (w *world) Apply(updates []source.Update, position uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applies++
	if position <= w.position {
		panic(fmt.Sprintf("position %d after %d", position, w.position))
	}
	w.position = position
	for _, u := range updates {
		if u.Object == nil {
			delete(w.objects, u.Ref)
			w.deleted = append(w.deleted, u.Ref)
		} else {
			w.objects[u.Ref] = u.Object
		}
	}
}

func (w *world) Synced() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.synced = true
}

func (w *world) Report(p source.Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.Message == "" {
		delete(w.problems, p.File)
	} else {
		w.problems[p.File] = append(w.problems[p.File], p)
	}
}

// until polls until what f says is true.
func (w *world) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		w.mu.Lock()
		ok := f()
		w.mu.Unlock()
		if ok {
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Fatalf("never: %s\nobjects %v\nproblems %v", what, w.objects, w.problems)
}

func (w *world) service(name string) *model.Service {
	s, _ := w.objects[model.Ref{Kind: "Service", Namespace: "default", Name: name}].(*model.Service)
	return s
}

func (w *world) all() string {
	var out []string
	for f, ps := range w.problems {
		for _, p := range ps {
			out = append(out, fmt.Sprintf("%s:%d: %s", filepath.Base(f), p.Line, p.Message))
		}
	}
	return strings.Join(out, "\n")
}

func service(name string, port int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec:\n  clusterIP: 10.0.0.1\n  ports:\n  - port: %d\n", name, port)
}

func start(t *testing.T, dir string) *world {
	t.Helper()
	w := newWorld()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Config{Dir: dir}).Run(ctx, w) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.until(t, "synced", func() bool { return w.synced })
	return w
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestEditInPlaceAndByRename(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, service("a", 80))
	w := start(t, dir)
	if s := w.service("a"); s == nil || s.Ports[0].Number != 80 || s.Ports[0].Target != "80" || s.Generation != 1 {
		t.Fatalf("service a: %+v", s)
	}
	write(t, a, service("a", 81))
	w.until(t, "port 81", func() bool { return w.service("a").Ports[0].Number == 81 })
	for i := range 20 {
		tmp := filepath.Join(dir, ".a.yaml.new")
		write(t, tmp, service("a", 100+i))
		rename(t, tmp, a)
		w.until(t, "the renamed file", func() bool { return w.service("a").Ports[0].Number == uint16(100+i) })
	}
	if len(w.deleted) > 0 {
		t.Errorf("an edit deleted %v", w.deleted)
	}
	if g := w.service("a").Generation; g != 22 {
		t.Errorf("generation %d after 21 edits, want 22", g)
	}
}
