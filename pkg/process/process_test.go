package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

func TestCacheDirPrefersTheMostSpecific(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"FAIRLEAD_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c/bin"},
		{map[string]string{"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/fairlead/bin"},
		{map[string]string{"HOME": "/h"}, "/h/.cache/fairlead/bin"},
	} {
		if got, err := CacheDir(env(test.env)); err != nil || got != test.want {
			t.Errorf("CacheDir(%v) = %q, %v; want %q", test.env, got, err, test.want)
		}
	}
	if _, err := CacheDir(env(nil)); err == nil || !strings.Contains(err.Error(), "HOME") {
		t.Errorf("error %v, want one that names what to set", err)
	}
}

func TestFindTellsHowToInstall(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir, "tool-1.0", ""); err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("error %v, want one that says what to run", err)
	}
	path := filepath.Join(dir, "tool-1.0")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(dir, "tool-1.0", ""); err != nil || got != path {
		t.Errorf("Find = %q, %v", got, err)
	}
}

func TestStopAndExit(t *testing.T) {
	p, err := Start("sleeper", t.TempDir(), "/bin/sh", "-c", "echo up; exec sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if gone, err := p.Exited(); !gone || !strings.Contains(err.Error(), "sleeper exited") {
		t.Errorf("after Stop: gone %v, %v", gone, err)
	}
}
