package enforce

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// nameFile has the names of the numbers that the kernel knows, a line each: kind, number, quoted name; the last of a number counts. It
// lives as long as the maps do, and is no safer than they are: a machine that has stopped has neither.
type nameFile struct {
	path string
	out  *os.File
}

const (
	identityKind  = "identity"
	namespaceKind = "namespace"
)

// openNames takes up the numbers of an earlier run. What cannot be read is left out: its number gets another name only when the kernel
// does not have it.
func (e *Engine) openNames() error {
	if err := os.MkdirAll(filepath.Dir(e.cfg.Names), 0o755); err != nil {
		return fmt.Errorf("open names of numbers: %w", err)
	}
	data, err := os.ReadFile(e.cfg.Names)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open names of numbers: %w", err)
	}
	for line := range bytes.Lines(data) {
		kind, number, name, ok := parseName(string(line))
		switch {
		case ok && kind == identityKind:
			e.identities.restore(number, name)
		case ok && kind == namespaceKind:
			e.namespaces.restore(number, name)
		}
	}
	e.names = &nameFile{path: e.cfg.Names}
	if err := e.names.rewrite(e.identities, e.namespaces); err != nil {
		return err
	}
	forget := e.identities.wrote
	e.identities.wrote = func(n uint32, name string) error {
		return errors.Join(forget(n, name), e.names.add(identityKind, n, name))
	}
	e.namespaces.wrote = func(n uint32, name string) error { return e.names.add(namespaceKind, n, name) }
	return nil
}

func parseName(line string) (kind string, number uint32, name string, ok bool) {
	line, whole := strings.CutSuffix(line, "\n")
	fields := strings.SplitN(line, " ", 3)
	if !whole || len(fields) != 3 {
		return "", 0, "", false
	}
	n, err := strconv.ParseUint(fields[1], 10, 32)
	name, bad := strconv.Unquote(fields[2])
	return fields[0], uint32(n), name, err == nil && bad == nil && name != ""
}

func (f *nameFile) add(kind string, number uint32, name string) error {
	_, err := fmt.Fprintf(f.out, "%s %d %q\n", kind, number, name)
	return err
}

// rewrite makes the file anew, of what has a name.
func (f *nameFile) rewrite(identities, namespaces *numbers) error {
	next, err := os.CreateTemp(filepath.Dir(f.path), ".names-")
	if err != nil {
		return fmt.Errorf("write names of numbers: %w", err)
	}
	w := bufio.NewWriter(next)
	write := func(kind string, n *numbers) {
		for i := range n.rows {
			if r := &n.rows[i]; r.name != "" {
				fmt.Fprintf(w, "%s %d %q\n", kind, i, r.name)
			}
		}
	}
	write(identityKind, identities)
	write(namespaceKind, namespaces)
	err = w.Flush()
	if err == nil {
		err = os.Rename(next.Name(), f.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write names of numbers: %w", err), next.Close(), os.Remove(next.Name()))
	}
	if f.out != nil {
		_ = f.out.Close()
	}
	f.out = next
	_, err = next.Seek(0, io.SeekEnd)
	return err
}
