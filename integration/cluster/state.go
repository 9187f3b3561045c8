package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/integration/process"
	pkgprocess "fairlead.io/fairlead/pkg/process"
)

// coreDNSVersion and envoyVersion are those of hack/tools/versions.sh, as kube.KubernetesVersion is.
const (
	coreDNSVersion = "v1.15.0"
	stateFile      = "cluster.json"
)

// state is what a cluster's folder says of it, so that another process can find it again.
type state struct {
	Options Options `json:"options"`
	// Owner is the process that takes the cluster down; 0 is nobody. Born tells it from a later process of the same number.
	Owner int    `json:"owner,omitempty"`
	Born  string `json:"born,omitempty"`
}

// tools are the paths of the pinned binaries, by their names.
type tools map[string]string

func findTools() (tools, error) {
	t := tools{}
	var errs []error
	for name, version := range map[string]string{
		"etcd": kube.EtcdVersion, "kube-apiserver": kube.KubernetesVersion, "kube-controller-manager": kube.KubernetesVersion,
		"kube-scheduler": kube.KubernetesVersion, "kubelet": kube.KubernetesVersion, "kube-proxy": kube.KubernetesVersion,
		"kubectl": kube.KubernetesVersion, "coredns": coreDNSVersion, "busybox": "debian",
	} {
		path, err := process.Find(name+"-"+version, "")
		if err != nil {
			errs = append(errs, fmt.Errorf("%s is missing: run hack/tools/install.sh cluster", name))
		}
		t[name] = path
	}
	return t, errors.Join(errs...)
}

// stateRoot is the folder of all clusters' folders, beside that of the tools. It lies outside what a node has of its own.
func stateRoot() (string, error) {
	bin, err := pkgprocess.CacheDir(os.Getenv)
	if err != nil {
		return "", err
	}
	root := filepath.Join(filepath.Dir(bin), "cluster")
	for _, own := range ownFolders {
		if strings.HasPrefix(root, own+"/") {
			return "", fmt.Errorf("the cache is in %s, and a cluster's nodes have a %s of their own: set FAIRLEAD_CACHE to another folder", root, own)
		}
	}
	return root, os.MkdirAll(root, 0o755)
}

// logsDir is where the logs of a cluster stay that is gone.
func logsDir(dir string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(dir)), "cluster-logs", filepath.Base(dir))
}

// create makes the folder of a cluster; an existing one is an error.
func create(o Options, owner int) (dir string, err error) {
	root, err := stateRoot()
	if err != nil {
		return "", err
	}
	unlock, err := lock(root)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := saveSysctls(root); err != nil {
		return "", err
	}
	dir = filepath.Join(root, o.Name)
	if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("cluster %s exists: take it down first: go run ./hack/cluster down --name %s", o.Name, o.Name)
	} else if err != nil {
		return "", err
	}
	for _, sub := range []string{"log", "pki"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	s := state{Options: o, Owner: owner}
	if owner != 0 {
		s.Born = born(owner)
	}
	return dir, writeState(dir, s)
}

func writeState(dir string, s state) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stateFile), data, 0o600)
}

func readState(dir string) (s state, err error) {
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read state of cluster: %w", err)
	}
	return s, nil
}

// List returns the names of the clusters that are up, or that somebody left.
func List() ([]string, error) {
	root, err := stateRoot()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Reap takes down the clusters whose test run has died. Every start does it first.
func Reap() error {
	root, err := stateRoot()
	if err != nil {
		return err
	}
	names, err := List()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		s, err := readState(filepath.Join(root, name))
		if err != nil || s.Owner == 0 || s.Born != "" && born(s.Owner) == s.Born {
			continue // one that is being made or removed, one for hand work, or one whose owner lives
		}
		errs = append(errs, Remove(name))
	}
	return errors.Join(errs...)
}

// born is the time at which a process was started, in the kernel's count; empty when there is none, or one that only waits to be
// waited for.
func born(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the name in front may hold anything
	fields := strings.Fields(rest)
	// The first thread may be through while others still hold what the process has open.
	if len(fields) < 20 || fields[0] == "X" || (fields[0] == "Z" && fields[17] == "1") {
		return ""
	}
	return fields[19]
}

// lock keeps other processes from making or removing clusters.
func lock(root string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
