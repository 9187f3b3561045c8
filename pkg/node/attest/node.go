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

// nodeProcesses gives the node's process namespace: the agent sees who calls only if it shares it.
func (k *Kernel) nodeProcesses() (uint64, error) {
	pid, err := k.namespace(strconv.Itoa(os.Getpid()), "pid")
	if err != nil {
		return 0, fmt.Errorf("look at the node's process namespace: %w", err)
	}
	return pid, nil
}

// sandbox refuses a process whose namespaces contradict its cgroup: it was moved into the pod's cgroup, or went into another
// network (that of a container that the pod runs by itself, or that of another pod).
func (k *Kernel) sandbox(s standing) error {
	of, err := k.oldest(s)
	if err != nil {
		return fmt.Errorf("find the sandbox of pod %s: %w", s.uid, err)
	}
	if k.Network != nil {
		if net, ok := k.Network(s.uid); ok {
			of.net = net
		}
	}
	switch {
	case s.pid == k.nodePID && of.pid != k.nodePID:
		return fmt.Errorf("%w: pod %s", ErrOfNode, s.uid)
	case s.net != of.net:
		return fmt.Errorf("%w: it is not in the network of pod %s", ErrAmbiguous, s.uid)
	}
	return nil
}

// elder is a process of a pod by its age.
type elder struct {
	number int
	since  uint64
	pid    uint64 // its process namespace
}

func (e elder) before(o elder) bool {
	return o.number == 0 || e.since < o.since || e.since == o.since && e.number < o.number
}

// oldest gives the namespaces of a pod's oldest process, which is of the sandbox. The node's own processes count only where there
// are no others (hostPID): a runtime may keep a helper in the pod's cgroup that is older (CRI-O's conmon with conmon_cgroup = "pod").
func (k *Kernel) oldest(s standing) (standing, error) {
	dir, err := mountOf(k.Cgroup, s.in)
	if err != nil {
		return standing{}, err
	}
	var own, node elder
	err = walk(filepath.Join(dir, s.pod), func(_ string, n int) error {
		e := elder{number: n}
		var err error
		if e.since, err = k.started(n); err != nil {
			return nil // processes come and go
		}
		if e.pid, err = k.namespace(strconv.Itoa(n), "pid"); err != nil {
			return nil
		}
		of := &own
		if e.pid == k.nodePID {
			of = &node
		}
		if e.before(*of) {
			*of = e
		}
		return nil
	})
	if err != nil {
		return standing{}, err
	}
	if own.number == 0 {
		own = node
	}
	if own.number == 0 {
		return standing{}, errors.New("no process is seen in its cgroup below " + dir)
	}
	net, err := k.namespace(strconv.Itoa(own.number), "net")
	if err != nil {
		return standing{}, err
	}
	if again, err := k.started(own.number); err != nil || again != own.since {
		return standing{}, fmt.Errorf("%w: process %d, the pod's oldest", ErrGone, own.number)
	}
	return standing{position: s.position, net: net, pid: own.pid}, nil
}
