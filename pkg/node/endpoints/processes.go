package endpoints

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespaces gives by pod UID the path of the network namespace of a pod's oldest process, by what the kubelet names the cgroups of
// pods. What a process makes of cgroups below that is its own business: the outermost name counts. Pods in the node's own network are
// left out. Proc is a proc filesystem of the node's process namespace, "/proc".
func (h *Host) Namespaces(proc string) (map[string]string, error) {
	own, err := inode(fmt.Sprintf("/proc/self/fd/%d", int(h.ns)))
	if err != nil {
		return nil, fmt.Errorf("look at network namespace: %w", err)
	}
	dirs, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	out, since := map[string]string{}, map[string]uint64{}
	for _, d := range dirs {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		uid := podOf(filepath.Join(proc, d.Name(), "cgroup"))
		if uid == "" {
			continue
		}
		path := filepath.Join(proc, d.Name(), "ns", "net")
		if ns, err := inode(path); err != nil || ns == own {
			continue
		}
		started, err := startOf(filepath.Join(proc, d.Name(), "stat"))
		if err != nil {
			continue // processes come and go
		}
		if before, ok := since[uid]; !ok || started < before {
			out[uid], since[uid] = path, started
		}
	}
	return out, nil
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Ino, err
}

// podCgroup is how the kubelet names the cgroup of a pod, by the driver cgroupfs or systemd.
var podCgroup = regexp.MustCompile(`/(?:kubepods[a-z-]*-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?:/|$)`)

func podOf(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if m := podCgroup.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			return strings.ReplaceAll(m[1], "_", "-")
		}
	}
	return ""
}

// startOf is when a process started (proc_pid_stat(5), field 22).
func startOf(file string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("read %s: too short", file)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
