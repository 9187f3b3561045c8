package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// CacheDir is where hack/tools/install.sh puts binaries: ${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-~/.cache}/fairlead}/bin. getenv
// is os.Getenv, or what a test puts in its place.
func CacheDir(getenv func(string) string) (string, error) {
	if dir := getenv("FAIRLEAD_CACHE"); dir != "" {
		return filepath.Join(dir, "bin"), nil
	}
	if dir := getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "fairlead", "bin"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", fmt.Errorf("find cache: none of FAIRLEAD_CACHE, XDG_CACHE_HOME and HOME is set")
	}
	return filepath.Join(home, ".cache", "fairlead", "bin"), nil
}

// Find returns the path of a pinned binary: file (a name with its version, "etcd-v3.6.16") in the folder dir, else fallback in
// PATH; an empty fallback means that only the folder will do. The error tells how to install it.
func Find(dir, file, fallback string) (string, error) {
	path := filepath.Join(dir, file)
	if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
		return path, nil
	}
	if fallback != "" {
		if path, err := exec.LookPath(fallback); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: not in %s: run `make tools`", file, dir)
}
