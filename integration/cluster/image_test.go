package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestEqualImagesHaveEqualBytes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("content"), 0o755); err != nil {
		t.Fatal(err)
	}
	image := Image{
		Refs: []string{"fairlead.test/a:1", "fairlead.test/b:1"}, Entrypoint: []string{"/usr/bin/file"}, User: "65532:65532",
		Files: map[string]string{"/usr/bin/file": file, "/usr/lib/file": file, "/z": file},
		Text:  map[string]string{"/etc/one": "1", "/etc/two": "2"}, Links: map[string]string{"/bin": "usr/bin"}, Dirs: []string{"/data"},
	}
	var archives [2][]byte
	for i, name := range []string{"first.tar", "second.tar"} {
		if err := Pack(filepath.Join(dir, name), image, image); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Unix(1, 0)); err != nil { // as if it had been built again
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of one image differ")
	}
	image.Text["/etc/two"] = "changed"
	if err := Pack(filepath.Join(dir, "third.tar"), image, image); err != nil {
		t.Fatal(err)
	}
	if third, err := os.ReadFile(filepath.Join(dir, "third.tar")); err != nil || bytes.Equal(archives[0], third) {
		t.Errorf("another content gives the same archive (error %v)", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
