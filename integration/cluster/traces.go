package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// traces are what a cluster of that name leaves on the machine when it is not taken down as a whole: what carries its name, and
// what its daemons would write if a node had no folders and namespaces of its own.
func traces(name string) ([]string, error) {
	var all []string
	for _, pattern := range []string{
		"/run/netns/" + name + "-*", cgroupMount + "/" + name + "-*", cgroupMount + "/*/" + name + "-*", "/var/lib/kubelet/*",
		"/var/lib/cni/*", "/var/lib/containerd/*", "/var/log/pods/*", "/var/log/containers/*", "/etc/cni/net.d/*", "/run/containerd/*",
		"/run/fairlead/*", "/sys/fs/bpf/*", os.TempDir() + "/runc-process*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	root, err := stateRoot()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, name)); err == nil {
		all = append(all, filepath.Join(root, name))
	}
	pids, err := marked(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		all = append(all, fmt.Sprintf("process %d", pid))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/"+name) || strings.Contains(line, "kubelet") || strings.Contains(line, "containerd") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all, nil
}

// leftSince are the traces that were not there before.
func leftSince(before []string, name string) ([]string, error) {
	after, err := traces(name)
	return slices.DeleteFunc(after, func(s string) bool { return slices.Contains(before, s) }), err
}
