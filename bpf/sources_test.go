package bpf_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSources has what is compiled be of these sources.
func TestSources(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.c", "*.h"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	var lines []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%x  %s", sha256.Sum256(b), f))
	}
	b, err := os.ReadFile("sources.sha256")
	if err != nil {
		t.Fatal(err)
	}
	compiled := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(compiled)
	if slices.Sort(lines); !slices.Equal(lines, compiled) {
		t.Error("the sources are not what was compiled: run hack/tools/install.sh clang, then make generate, and commit")
	}
}
