// Package process is pkg/process with the cache folder that the environment names, for tests.
//
// It stands outside the line source → … → {Envoy, shim}: only tests under integration and beside packages use it.
package process

import (
	"os"

	"fairlead.io/fairlead/pkg/process"
)

// Process is a running child.
type Process = process.Process

// Find returns the path of a pinned binary in the cache, else fallback in PATH; see process.Find.
func Find(file, fallback string) (string, error) {
	dir, err := process.CacheDir(os.Getenv)
	if err != nil {
		return "", err
	}
	return process.Find(dir, file, fallback)
}

// Start runs path with args in folder dir and appends its output to the file dir/name.log; see process.Start.
func Start(name, dir, path string, args ...string) (*Process, error) {
	return process.Start(name, dir, path, args...)
}
