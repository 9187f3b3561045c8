package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupRoots returns the roots of the hierarchies: one of version 2, or one for each controller of version 1 and perhaps one of
// version 2 beside them.
func cgroupRoots() (roots []string, unified bool, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &fs); err != nil {
		return nil, false, fmt.Errorf("look for cgroups: %w", err)
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupMount}, true, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, false, fmt.Errorf("look for cgroups: %w", err)
	}
	for _, e := range entries { // links are second names
		root := filepath.Join(cgroupMount, e.Name())
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil && e.IsDir() {
			roots = append(roots, root)
		}
	}
	return roots, false, nil
}

// makeCgroup makes the cgroup of a node in every hierarchy: "system" in it holds its daemons, "kubepods" will hold its pods.
func makeCgroup(name string) error {
	roots, unified, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, root := range roots {
		node := filepath.Join(root, name)
		for _, dir := range []string{node, filepath.Join(node, "system")} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make cgroup: %w", err)
			}
			if err := inheritCpuset(dir); err != nil {
				return fmt.Errorf("make cgroup: %w", err)
			}
		}
		if !unified {
			continue
		}
		controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
		if err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		for controller := range strings.FieldsSeq(string(controllers)) {
			for _, dir := range []string{root, node} { // one that cannot be had is missed by the kubelet, which says so
				_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
			}
		}
	}
	return nil
}

// inheritCpuset fills what version 1 leaves empty in a new cpuset, and lets its children have it too.
func inheritCpuset(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "cpuset.cpus")); err != nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.clone_children")); err != nil {
		return nil // version 2 inherits
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0o644)
}

// nodeTemp has the daemons of a node put their temporary files where only it sees them: runc leaves some when it is killed.
const nodeTemp = "TMPDIR=/run"

// inCgroup is a command that joins the daemons of a node before it becomes name. A shell does it, since a thread of this
// process must not join: only whole processes may in version 2.
func inCgroup(group, name string, args ...string) (*exec.Cmd, error) {
	roots, _, err := cgroupRoots()
	if err != nil {
		return nil, err
	}
	const script = `n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1" || exit 1; shift; n=$((n-1)); done; exec "$@"`
	words := []string{"-c", script, "sh", strconv.Itoa(len(roots))}
	for _, root := range roots {
		words = append(words, filepath.Join(root, group, "system", "cgroup.procs"))
	}
	cmd := exec.Command("/bin/sh", append(append(words, name), args...)...)
	cmd.Env = []string{nodeTemp}
	return cmd, nil
}

// killCgroup kills everything in a cgroup (daemons, shims and pods of one node) and removes it.
func killCgroup(name string) error {
	roots, _, err := cgroupRoots()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(Patience)
	for {
		left := false
		for _, root := range roots {
			dirs := subdirs(filepath.Join(root, name))
			left = left || len(dirs) > 0
			for _, pid := range cgroupPids(dirs) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone
			}
			for _, dir := range slices.Backward(dirs) {
				_ = os.Remove(dir) // refused while a process lives in it
			}
		}
		if !left {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: processes in it do not die", name)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// subdirs returns a folder and all below it, parents first; nothing when it does not exist.
func subdirs(root string) (dirs []string) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir // removed meanwhile
		}
		if d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

func cgroupPids(dirs []string) (pids []int) {
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		for line := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
