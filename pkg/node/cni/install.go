package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Installer puts the plugin into a node's CNI configuration, and takes it out.
type Installer struct {
	// ConfDir is where the runtime looks for configurations, BinDir for plugins; as this process sees them.
	ConfDir, BinDir string
	// Binary is copied to BinDir; it runs Main when it is called by PluginName.
	Binary string
	Config Config
}

// Install copies the plugin and has the configuration that the runtime uses name it last. It may be called again and again: another
// plugin's installer may write its configuration anew. It tells whether anything has changed.
func (i *Installer) Install() (changed bool, err error) {
	file, err := i.used()
	if err != nil {
		return false, err
	}
	copied, err := i.copyBinary()
	if err != nil {
		return false, err
	}
	edited, err := edit(file, func(plugins []map[string]any) []map[string]any {
		return append(without(plugins), map[string]any{"type": PluginName, "socket": i.Config.Socket, "exempt": i.Config.Exempt, "waitMilliseconds": i.Config.Wait})
	})
	return copied || edited, err
}

// Uninstall takes the plugin out of every configuration, then the binary.
func (i *Installer) Uninstall() error {
	files, err := i.files()
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := load(f); err != nil {
			continue // it is not one that the plugin was put into
		}
		if _, err := edit(f, without); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(i.BinDir, PluginName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("uninstall CNI plugin: %w", err)
	}
	return nil
}

func without(plugins []map[string]any) []map[string]any {
	return slices.DeleteFunc(plugins, func(p map[string]any) bool { return p["type"] == PluginName })
}

// ErrNoConfig says that no plugin connects pods yet; there will be one.
var ErrNoConfig = errors.New("there is no CNI configuration list yet")

// used is the configuration that runtimes take: the first by name that is a list.
func (i *Installer) used() (string, error) {
	files, err := i.files()
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if _, err := load(f); err == nil {
			return f, nil
		}
	}
	return "", fmt.Errorf("%w in %s: configure the network with a .conflist", ErrNoConfig, i.ConfDir)
}

func (i *Installer) files() ([]string, error) {
	rows, err := os.ReadDir(i.ConfDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list CNI configurations: %w", err)
	}
	var out []string
	for _, r := range rows {
		if strings.HasSuffix(r.Name(), ".conflist") && r.Type().IsRegular() {
			out = append(out, filepath.Join(i.ConfDir, r.Name()))
		}
	}
	return out, nil
}

// list is a configuration list, with whatever it says besides.
type list struct {
	all     map[string]any
	plugins []map[string]any
	raw     []byte
}

func load(file string) (*list, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read CNI configuration: %w", err)
	}
	l := &list{raw: raw}
	if err := json.Unmarshal(raw, &l.all); err != nil {
		return nil, fmt.Errorf("read CNI configuration %s: %w", file, err)
	}
	plugins, _ := l.all["plugins"].([]any)
	for _, p := range plugins {
		m, ok := p.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("read CNI configuration %s: a plugin is not an object", file)
		}
		l.plugins = append(l.plugins, m)
	}
	if len(l.plugins) == 0 {
		return nil, fmt.Errorf("read CNI configuration %s: it lists no plugins", file)
	}
	return l, nil
}

// edit changes the plugins of a configuration, as a whole or not at all.
func edit(file string, change func([]map[string]any) []map[string]any) (changed bool, err error) {
	l, err := load(file)
	if err != nil {
		return false, err
	}
	before, err := json.Marshal(l.plugins)
	if err != nil {
		return false, fmt.Errorf("edit CNI configuration %s: %w", file, err)
	}
	next := change(slices.Clone(l.plugins))
	after, err := json.Marshal(next)
	if err != nil {
		return false, fmt.Errorf("edit CNI configuration %s: %w", file, err)
	}
	if string(before) == string(after) {
		return false, nil
	}
	l.all["plugins"] = next
	out, err := json.MarshalIndent(l.all, "", "  ")
	if err != nil {
		return false, fmt.Errorf("edit CNI configuration %s: %w", file, err)
	}
	mode := os.FileMode(0o644)
	if s, err := os.Stat(file); err == nil {
		mode = s.Mode().Perm()
	}
	return true, replace(file, mode, func(w io.Writer) error {
		_, err := w.Write(append(out, '\n'))
		return err
	})
}

// replace writes a file beside and renames it: nobody sees half of it. Runtimes leave names that begin with a dot alone.
func replace(file string, mode os.FileMode, write func(io.Writer) error) error {
	next, err := os.CreateTemp(filepath.Dir(file), ".fairlead-")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	err = write(next)
	err = errors.Join(err, next.Chmod(mode), next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(next.Name()))
	}
	return nil
}

// copyBinary copies the plugin when it is not there, or another.
func (i *Installer) copyBinary() (bool, error) {
	to := filepath.Join(i.BinDir, PluginName)
	from, err := os.Open(i.Binary)
	if err != nil {
		return false, fmt.Errorf("install CNI plugin: %w", err)
	}
	defer from.Close()
	want, err := from.Stat()
	if err != nil {
		return false, fmt.Errorf("install CNI plugin: %w", err)
	}
	// The copy has the time of its original, by which it is known to be the same.
	if has, err := os.Stat(to); err == nil && has.Size() == want.Size() && has.ModTime().Equal(want.ModTime()) {
		return false, nil
	}
	err = replace(to, 0o755, func(w io.Writer) error {
		_, err := io.Copy(w, from)
		return err
	})
	if err != nil {
		return false, err
	}
	return true, os.Chtimes(to, want.ModTime(), want.ModTime())
}
