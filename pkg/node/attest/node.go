package attest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// anchor is where this process's cgroup namespaces begin, by hierarchy: "/" in the node's own. Container runtimes give each
// container a cgroup namespace (with cgroup v2), and then the kernel shows all other paths from there: "/../../pod<uid>/…".
type anchor map[string]string

func hierarchy(m membership) string { return strings.Join(m.controllers, ",") }

// findAnchor looks for this process in the node's cgroup filesystem. What it does not find stays relative, and is refused.
func findAnchor(proc, cgroup string) anchor {
	first, err := memberships(proc, "1")
	if err != nil || !slices.ContainsFunc(first, func(m membership) bool { return above(m.path) }) {
		return nil
	}
	own, err := memberships(proc, strconv.Itoa(os.Getpid()))
	if err != nil {
		return nil
	}
	a := anchor{}
	for _, m := range own {
		dir, err := mountOf(cgroup, m)
		if err != nil {
			continue
		}
		// The depth is known from where process 1 is seen, the names are not.
		if at, ok := find(dir, os.Getpid()); ok {
			if top, ok := strings.CutSuffix(at, strings.TrimSuffix(m.path, "/")); ok {
				a[hierarchy(m)] = path.Join("/", top)
			}
		}
	}
	return a
}

// absolute makes paths absolute as the node sees them.
func (a anchor) absolute(all []membership) {
	for i, m := range all {
		top, ok := a[hierarchy(m)]
		if !ok {
			continue
		}
		parts := strings.Split(strings.Trim(top, "/"), "/")
		rest := m.path
		for above(rest) && len(parts) > 0 && parts[0] != "" {
			parts, rest = parts[:len(parts)-1], rest[3:]
		}
		if above(rest) {
			continue // above what is known: refused as it stands
		}
		all[i].path = path.Clean("/" + strings.Join(parts, "/") + "/" + rest)
	}
}

// above tells whether a path leaves where it begins.
func above(p string) bool { return p == "/.." || strings.HasPrefix(p, "/../") }

func memberships(proc, pid string) ([]membership, error) {
	b, err := os.ReadFile(filepath.Join(proc, pid, "cgroup"))
	if err != nil {
		return nil, err
	}
	return parseCgroup(b)
}

// findKubepods gives the cgroups that kubelet keeps pods in.
func (k *Kernel) findKubepods() []string {
	if k.Kubepods != "" {
		return []string{path.Join("/", k.Kubepods)}
	}
	own, err := memberships(k.Proc, strconv.Itoa(os.Getpid()))
	if err == nil {
		k.anchor.absolute(own)
		for _, m := range own {
			parts := strings.Split(m.path, "/")
			i := slices.IndexFunc(parts, func(s string) bool {
				return s == "kubepods" || s == "kubepods.slice" || strings.HasSuffix(s, "-kubepods.slice")
			})
			if i > 0 && (m.decides() || m.unified()) {
				return []string{strings.Join(parts[:i+1], "/")}
			}
		}
	}
	return []string{"/kubepods", "/kubepods.slice"}
}

// mountOf is the folder of a hierarchy below the node's cgroup filesystem.
func mountOf(cgroup string, m membership) (string, error) {
	var dirs []string
	if m.unified() {
		// With both versions mounted, the unified one is a folder beside the others.
		dirs = []string{filepath.Join(cgroup, "unified"), cgroup}
	} else {
		dirs = []string{filepath.Join(cgroup, strings.TrimPrefix(hierarchy(m), "name="))}
		for _, c := range m.controllers {
			dirs = append(dirs, filepath.Join(cgroup, c))
		}
	}
	for _, d := range dirs {
		if _, err := os.Stat(filepath.Join(d, "cgroup.procs")); err == nil {
			return d, nil
		}
	}
	return "", fmt.Errorf("find hierarchy %q: nothing is mounted below %s: mount the node's /sys/fs/cgroup there", hierarchy(m), cgroup)
}

// find gives the path of the cgroup that a process is in.
func find(dir string, pid int) (at string, ok bool) {
	_ = walk(dir, func(folder string, n int) error {
		if n == pid {
			at, ok = "/"+strings.TrimPrefix(strings.TrimPrefix(folder, dir), "/"), true
			return fs.SkipAll
		}
		return nil
	})
	return at, ok
}

// walk calls fn for the processes of a cgroup and of those below it.
func walk(dir string, fn func(folder string, pid int) error) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || !d.IsDir() {
			return err
		}
		f, err := os.Open(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil // removed meanwhile, or not a cgroup
		}
		defer f.Close()
		in := bufio.NewScanner(f) // an error is that of a threaded cgroup: its processes are listed above it
		for in.Scan() {
			if n, err := strconv.Atoi(in.Text()); err == nil && n > 0 {
				if err := fn(p, n); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// nodeNamespaces gives the node's own namespaces. The agent sees who calls only if it shares the node's process namespace; the
// network is that of process 1, or, where a node lets nobody look at it, the agent's own.
func (k *Kernel) nodeNamespaces() (network, pid uint64, err error) {
	own := strconv.Itoa(os.Getpid())
	if network, err = k.namespace("1", "net"); errors.Is(err, fs.ErrPermission) {
		network, err = k.namespace(own, "net")
	}
	if err == nil {
		pid, err = k.namespace(own, "pid")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look at the node's namespaces: %w", err)
	}
	return network, pid, nil
}

// sameNetwork refuses a process that is in another network than its pod: it was moved into the pod's cgroup, or went into another
// network (that of a container that the pod runs by itself, or that of another pod).
func (k *Kernel) sameNetwork(s standing) error {
	want, ok := uint64(0), false
	if k.Network != nil {
		want, ok = k.Network(s.uid)
	}
	if !ok {
		var err error
		if want, err = k.oldest(s); err != nil {
			return fmt.Errorf("find the network of pod %s: %w", s.uid, err)
		}
	}
	if s.net != want {
		return fmt.Errorf("%w: it is not in the network of pod %s", ErrAmbiguous, s.uid)
	}
	return nil
}

// oldest gives the network namespace of a pod's oldest process: that of the sandbox.
func (k *Kernel) oldest(s standing) (uint64, error) {
	dir, err := mountOf(k.Cgroup, s.in)
	if err != nil {
		return 0, err
	}
	var pid int
	var since uint64
	err = walk(filepath.Join(dir, s.pod), func(_ string, n int) error {
		t, err := k.started(n)
		if err == nil && (pid == 0 || t < since || t == since && n < pid) {
			pid, since = n, t
		}
		return nil // processes come and go
	})
	if err != nil {
		return 0, err
	}
	if pid == 0 {
		return 0, errors.New("no process is seen in its cgroup below " + dir)
	}
	net, err := k.namespace(strconv.Itoa(pid), "net")
	if err != nil {
		return 0, err
	}
	if again, err := k.started(pid); err != nil || again != since {
		return 0, fmt.Errorf("%w: process %d, the pod's oldest", ErrGone, pid)
	}
	return net, nil
}
