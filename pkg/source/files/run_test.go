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

func (w *world) Apply(updates []source.Update, at source.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applies++
	if at.Seen <= w.position || at.Complete != at.Seen {
		panic(fmt.Sprintf("position %v after %d", at, w.position))
	}
	w.position = at.Seen
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

func TestBrokenFileKeepsTheLastGoodObjects(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, service("a", 80)+"---\n"+service("b", 80))
	w := start(t, dir)
	// The first document breaks, the second changes.
	write(t, a, "kind: Service\n  metadata: [\n---\n"+service("b", 81))
	w.until(t, "the fault", func() bool { return len(w.problems[a]) == 1 && w.service("b").Ports[0].Number == 81 })
	if p := w.problems[a][0]; p.Line != 2 || !strings.Contains(p.Message, "cannot be read as YAML") {
		t.Errorf("problem %+v, want one at line 2", p)
	}
	if w.service("a") == nil {
		t.Error("service a is gone with the document that cannot be read")
	}
	write(t, a, service("b", 82))
	w.until(t, "fixed, and a gone", func() bool {
		return len(w.problems) == 0 && w.service("a") == nil && w.service("b").Ports[0].Number == 82
	})
	// A file that is empty for an instant takes nothing away: here, truncated and written again.
	w.deleted = nil
	for i := range 30 {
		write(t, a, service("b", 200+i))
		w.until(t, "the edit", func() bool { return w.service("b") != nil && w.service("b").Ports[0].Number == uint16(200+i) })
	}
	if len(w.deleted) > 0 {
		t.Errorf("truncation deleted %v", w.deleted)
	}
	if err := os.Truncate(a, 0); err != nil {
		t.Fatal(err)
	}
	w.until(t, "an empty file stays empty", func() bool { return w.service("b") == nil })
}

func TestEditorsHabits(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, service("a", 80))
	w := start(t, dir)
	// vim: a swap file, a probe, a backup, the new file, no backup.
	write(t, filepath.Join(dir, ".a.yaml.swp"), "b0VIM")
	write(t, filepath.Join(dir, "4913"), "")
	rename(t, a, a+"~")
	write(t, a, service("a", 81))
	_ = os.Remove(a + "~")
	_ = os.Remove(filepath.Join(dir, "4913"))
	// emacs: a lock that is a dangling link, and an auto-save file.
	if err := os.Symlink("me@host.1234", filepath.Join(dir, ".#a.yaml")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "#a.yaml#"), "half")
	w.until(t, "the edit", func() bool { s := w.service("a"); return s != nil && s.Ports[0].Number == 81 })
	if len(w.deleted) > 0 || len(w.problems) > 0 {
		t.Errorf("deleted %v, problems %v", w.deleted, w.all())
	}
}

// A mounted ConfigMap: names that are links into ..data, which is itself swapped by rename.
func TestConfigMapMount(t *testing.T) {
	dir := t.TempDir()
	version := func(name string, port int) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "a.yaml"), service("a", port))
		if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		rename(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
	}
	version("..2026_1", 80)
	if err := os.Symlink("..data/a.yaml", filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w := start(t, dir)
	if w.service("a") == nil || len(w.problems) > 0 {
		t.Fatalf("objects %v, problems %s", w.objects, w.all())
	}
	for i := range 5 {
		version(fmt.Sprintf("..2026_%d", i+2), 81+i)
		w.until(t, "the swap", func() bool { return w.service("a").Ports[0].Number == uint16(81+i) })
		if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%d", i+1))); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.deleted) > 0 || len(w.problems) > 0 {
		t.Errorf("deleted %v, problems %v", w.deleted, w.all())
	}
}

func TestFolders(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "conf")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := start(t, dir)
	deep := filepath.Join(dir, "x", "y")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(deep, "a.yml"), service("a", 80))
	w.until(t, "a file in a new folder", func() bool { return w.service("a") != nil })
	write(t, filepath.Join(deep, "a.yml"), service("a", 81))
	w.until(t, "its edit", func() bool { return w.service("a").Ports[0].Number == 81 })
	for i := range 3 {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		w.until(t, "the folder is gone", func() bool { return w.service("a") == nil })
		if err := os.MkdirAll(deep, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(deep, "a.yml"), service("a", 90+i))
		w.until(t, "the folder is back", func() bool { s := w.service("a"); return s != nil && s.Ports[0].Number == uint16(90+i) })
	}
	// The folder itself as a link that is swapped.
	other := filepath.Join(top, "release-2")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(other, "a.yaml"), service("a", 99))
	rename(t, dir, filepath.Join(top, "release-1"))
	if err := os.Symlink("release-2", dir); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the swapped folder", func() bool { s := w.service("a"); return s != nil && s.Ports[0].Number == 99 })
	write(t, filepath.Join(other, "a.yaml"), service("a", 100))
	w.until(t, "an edit behind the link", func() bool { return w.service("a").Ports[0].Number == 100 })
}

func TestLargeFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, service("a", 80))
	w := start(t, dir)
	big := "# " + strings.Repeat("x", DefaultMaxFile) + "\n"
	write(t, filepath.Join(dir, ".a"), service("a", 81)+big) // half a write in place would be a smaller file
	if err := os.Rename(filepath.Join(dir, ".a"), a); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the refusal", func() bool { return len(w.problems[a]) == 1 })
	if p := w.problems[a][0]; p.Message != "the file is larger than 10.0 MiB, the largest that is read; divide it" {
		t.Errorf("problem %+v", p)
	}
	if s := w.service("a"); s == nil || s.Ports[0].Number != 80 {
		t.Errorf("service %+v, want the one before", s)
	}
}

func TestDuplicates(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write(t, b, "# comment\n"+service("a", 81))
	w := start(t, dir)
	write(t, a, service("a", 80))
	w.until(t, "the first file wins", func() bool { return w.service("a").Ports[0].Number == 80 && len(w.problems[b]) == 1 })
	if p := w.problems[b][0]; p.Line != 2 || !strings.Contains(p.Message, a+":1") || p.Ref.Name != "a" {
		t.Errorf("problem %+v, want one at line 2 that names a.yaml:1", p)
	}
	if err := os.Remove(a); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the second file takes its place", func() bool { return w.service("a").Ports[0].Number == 81 && len(w.problems) == 0 })
	if len(w.deleted) > 0 || w.service("a").Generation != 3 {
		t.Errorf("deleted %v, generation %d, want none and 3", w.deleted, w.service("a").Generation)
	}
}

func TestUnchangedObjectsAreNotHandedOverAgain(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, service("a", 80)+"---\n"+service("b", 80))
	w := start(t, dir)
	was := w.service("a")
	write(t, a, service("a", 80)+"---\n"+service("b", 81))
	w.until(t, "the edit of b", func() bool { return w.service("b").Ports[0].Number == 81 })
	if w.service("a") != was {
		t.Error("service a was handed over again")
	}
}

func TestRunNeedsAFolder(t *testing.T) {
	if err := New(Config{Dir: filepath.Join(t.TempDir(), "none")}).Run(t.Context(), newWorld()); err == nil {
		t.Error("no error for a folder that does not exist")
	}
}

// One bad file of each sort among 500 good ones: the 500 are there, and each bad one says why.
func TestOneBadAmongManyGood(t *testing.T) {
	dir := t.TempDir()
	for i := range 500 {
		write(t, filepath.Join(dir, fmt.Sprintf("s%03d.yaml", i)), service(fmt.Sprintf("s%d", i), 80))
	}
	bad := map[string]string{
		"syntax.yaml": "a: b: c", "kind.yaml": "apiVersion: networking.istio.io/v1\nkind: VirtualSrvice\nmetadata: {name: a}\n",
		"binary.json": "\x00\x01", "type.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: []\n",
	}
	for name, text := range bad {
		write(t, filepath.Join(dir, name), text)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	w := start(t, dir)
	if len(w.objects) != 500 || w.applies != 1 {
		t.Errorf("%d objects in %d bursts, want 500 in one", len(w.objects), w.applies)
	}
	if len(w.problems) != len(bad)+1 {
		t.Errorf("problems\n%s\nwant one for each of %d bad files", w.all(), len(bad)+1)
	}
}
