package cni

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func pluginsOf(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var l struct {
		Name    string
		Plugins []struct{ Type string }
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	out := []string{l.Name}
	for _, p := range l.Plugins {
		out = append(out, p.Type)
	}
	return strings.Join(out, " ")
}

// TestInstall puts the plugin last into the configuration that counts, keeps it there, and takes it out again.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	i := &Installer{ConfDir: filepath.Join(dir, "net.d"), BinDir: filepath.Join(dir, "bin"), Binary: filepath.Join(dir, "agent"), Config: Config{Socket: "/s", Exempt: DefaultExempt(), Wait: 1000}}
	for _, d := range []string{i.ConfDir, i.BinDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, i.Binary, "program 1")
	if _, err := i.Install(); !errors.Is(err, ErrNoConfig) {
		t.Errorf("without a configuration: %v", err)
	}
	if _, err := os.Stat(filepath.Join(i.BinDir, PluginName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the binary is there before it is of use: %v", err)
	}
	first, second := filepath.Join(i.ConfDir, "10-net.conflist"), filepath.Join(i.ConfDir, "20-other.conflist")
	put(t, filepath.Join(i.ConfDir, "05-broken.conflist"), "{")
	const text = `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge","mtu":1500,"ipam":{"type":"host-local"}},{"type":"portmap","capabilities":{"portMappings":true}}]}`
	put(t, first, text)
	put(t, second, `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"ptp"}]}`)
	install := func(want bool) {
		t.Helper()
		if changed, err := i.Install(); err != nil || changed != want {
			t.Fatalf("changed %v, %v", changed, err)
		}
		if got := pluginsOf(t, first) + ", " + pluginsOf(t, second); got != "net bridge portmap fairlead-cni, other ptp" {
			t.Errorf("the configurations are %s", got)
		}
	}
	install(true)
	install(false)
	put(t, first, text) // by its own installer
	install(true)
	i.Config.Wait = 2000
	install(true)
	put(t, i.Binary, "program two")
	install(true)
	if raw, err := os.ReadFile(filepath.Join(i.BinDir, PluginName)); err != nil || string(raw) != "program two" {
		t.Errorf("the plugin is %q, %v", raw, err)
	}
	if s, err := os.Stat(first); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("the mode of the configuration has changed: %v, %v", s.Mode(), err)
	}
	put(t, filepath.Join(i.ConfDir, "05-broken.conflist"), `{"name":"a","plugins":[{"type":"x"}]}`)
	if err := i.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if got := pluginsOf(t, first); got != "net bridge portmap" {
		t.Errorf("the configuration is %s", got)
	}
	var was, is any
	raw, err := os.ReadFile(first)
	if err := errors.Join(err, json.Unmarshal([]byte(text), &was), json.Unmarshal(raw, &is)); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(was)
	b, _ := json.Marshal(is)
	if string(a) != string(b) {
		t.Errorf("it is not what it was: %s", b)
	}
	rows, err := os.ReadDir(i.BinDir)
	if err != nil || len(rows) != 0 {
		t.Errorf("left are %v, %v", rows, err)
	}
	if err := i.Uninstall(); err != nil {
		t.Errorf("again: %v", err)
	}
}
