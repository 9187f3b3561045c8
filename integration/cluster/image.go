package cluster

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
)

// Image is what Pack puts into an archive: one layer, and how it is started.
type Image struct {
	Refs            []string // its names, "fairlead.test/probe:1"
	Entrypoint, Cmd []string
	User            string
	Files           map[string]string // path in the image to file on this machine, mode 755
	Text            map[string]string // path to content, mode 644
	Links           map[string]string // path to target
	Dirs            []string          // empty folders that anybody may write; /tmp is there
}

// descriptor, index and the others are those of the OCI image specification, as far as they are used.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		User       string   `json:",omitempty"`
		Env        []string `json:",omitempty"`
		Entrypoint []string `json:",omitempty"`
		Cmd        []string `json:",omitempty"`
		WorkingDir string
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

const ociType = "application/vnd.oci.image."

// Pack writes images to one OCI archive, which `ctr images import` reads. Equal input gives equal bytes.
func Pack(archive string, images ...Image) error {
	if err := pack(archive, images); err != nil {
		return fmt.Errorf("pack image: %w", err)
	}
	return nil
}

func pack(archive string, images []Image) (err error) {
	out, err := os.CreateTemp(filepath.Dir(archive), ".image-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name()) // fails when all went well
	defer out.Close()
	w := &archiveWriter{tar: tar.NewWriter(out), scratch: filepath.Dir(archive), have: map[string]bool{}}
	all := index{SchemaVersion: 2, MediaType: ociType + "index.v1+json"}
	for _, image := range images {
		manifest, err := w.image(image)
		if err != nil {
			return fmt.Errorf("%v: %w", image.Refs, err)
		}
		for _, ref := range image.Refs {
			manifest.Annotations = map[string]string{"io.containerd.image.name": ref}
			all.Manifests = append(all.Manifests, manifest)
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"index.json": data} {
		if err := writeEntry(w.tar, name, 0o644, content); err != nil {
			return err
		}
	}
	if err := writeEntry(w.tar, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := w.tar.Close(); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(out.Name(), archive)
}

// archiveWriter writes blobs under their digests.
type archiveWriter struct {
	tar     *tar.Writer
	scratch string
	have    map[string]bool
}

func (w *archiveWriter) image(image Image) (manifest descriptor, err error) {
	layer, err := w.layer(image)
	if err != nil {
		return manifest, err
	}
	config := imageConfig{Architecture: runtime.GOARCH, OS: "linux"}
	config.Config.User, config.Config.Entrypoint, config.Config.Cmd = image.User, image.Entrypoint, image.Cmd
	config.Config.WorkingDir, config.Config.Env = "/", []string{"PATH=/usr/local/bin:/usr/bin:/bin:/"}
	config.RootFS.Type, config.RootFS.DiffIDs = "layers", []string{layer.Digest}
	configBlob, err := w.json(ociType+"config.v1+json", config)
	if err != nil {
		return manifest, err
	}
	const manifestType = ociType + "manifest.v1+json"
	return w.json(manifestType, index{SchemaVersion: 2, MediaType: manifestType, Config: &configBlob, Layers: []descriptor{layer}})
}

func (w *archiveWriter) json(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(data)
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(data))}
	if w.have[d.Digest] {
		return d, nil
	}
	w.have[d.Digest] = true
	return d, writeEntry(w.tar, blobPath(d.Digest), 0o644, data)
}

// layer writes an image's files, by way of a file: a digest stands before its bytes.
func (w *archiveWriter) layer(image Image) (d descriptor, err error) {
	f, err := os.CreateTemp(w.scratch, ".layer-")
	if err != nil {
		return d, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	hash := sha256.New()
	if err := writeLayer(io.MultiWriter(f, hash), image); err != nil {
		return d, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return d, err
	}
	d = descriptor{MediaType: ociType + "layer.v1.tar", Digest: "sha256:" + hex.EncodeToString(hash.Sum(nil)), Size: size}
	if w.have[d.Digest] {
		return d, nil
	}
	w.have[d.Digest] = true
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return d, err
	}
	if err := w.tar.WriteHeader(&tar.Header{Name: blobPath(d.Digest), Mode: 0o644, Size: size}); err != nil {
		return d, err
	}
	_, err = io.Copy(w.tar, f)
	return d, err
}

func blobPath(digest string) string { return "blobs/sha256/" + digest[len("sha256:"):] }

func writeLayer(out io.Writer, image Image) error {
	const user = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
	text := map[string]string{"/etc/passwd": user, "/etc/group": "root:x:0:\n", "/etc/nsswitch.conf": "hosts: files dns\n"}
	maps.Copy(text, image.Text)
	dirs := map[string]int64{"/tmp": 0o1777}
	for _, dir := range image.Dirs {
		dirs[dir] = 0o1777
	}
	paths := slices.Concat(slices.Collect(maps.Keys(dirs)), slices.Collect(maps.Keys(text)), slices.Collect(maps.Keys(image.Files)),
		slices.Collect(maps.Keys(image.Links)))
	for _, p := range slices.Clone(paths) {
		for p = path.Dir(p); p != "/"; p = path.Dir(p) {
			if _, ok := dirs[p]; !ok {
				dirs[p], paths = 0o755, append(paths, p)
			}
		}
	}
	slices.Sort(paths) // parents first
	t := tar.NewWriter(out)
	for _, p := range paths {
		var err error
		if mode, ok := dirs[p]; ok {
			err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: p[1:] + "/", Mode: mode})
		} else if target, ok := image.Links[p]; ok {
			err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: p[1:], Linkname: target, Mode: 0o777})
		} else if source, ok := image.Files[p]; ok {
			err = copyEntry(t, p[1:], source)
		} else {
			err = writeEntry(t, p[1:], 0o644, []byte(text[p]))
		}
		if err != nil {
			return err
		}
	}
	return t.Close()
}

func copyEntry(t *tar.Writer, name, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

func writeEntry(t *tar.Writer, name string, mode int64, data []byte) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

// Libraries returns the shared libraries that a binary of this machine needs, for Image.Files.
func Libraries(binary string) (map[string]string, error) {
	out, err := exec.Command("ldd", binary).Output()
	if err != nil {
		return nil, fmt.Errorf("find libraries of %s: %w", binary, err)
	}
	files := map[string]string{}
	for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		files[m[1]] = m[1]
	}
	return files, nil
}
