package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Down stops the cluster and removes its processes, cgroups, namespaces, mounts and state. With keepLogs, the logs stay beside
// the clusters' folder, under its name.
func (c *Cluster) Down(keepLogs bool) error {
	if err := c.down(keepLogs); err != nil {
		return fmt.Errorf("take down cluster %s: %w", c.Options.Name, err)
	}
	return nil
}

// Remove takes down a cluster by its name, whatever is left of it.
func Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	root, err := stateRoot()
	if err != nil {
		return err
	}
	return (&Cluster{Options: Options{Name: name}, dir: filepath.Join(root, name)}).Down(false)
}

func (c *Cluster) down(keepLogs bool) error {
	var errs []error
	for _, name := range slices.Backward(controlPlane) {
		errs = append(errs, c.stop(name, 0)) // an API server waits a minute for its watchers
	}
	nodes, err := c.nodeNames()
	errs = append(errs, err, each(nodes, killNode), c.killMarked())
	if err := errors.Join(errs...); err != nil {
		return err // what lives needs its files
	}
	c.reap.Wait()
	for _, ns := range append(nodes, c.controlPlaneNetns()) {
		errs = append(errs, deleteNetns(ns))
	}
	if keepLogs {
		errs = append(errs, os.RemoveAll(logsDir(c.dir)), os.MkdirAll(filepath.Dir(logsDir(c.dir)), 0o755),
			os.Rename(filepath.Join(c.dir, "log"), logsDir(c.dir)))
	}
	root := filepath.Dir(c.dir)
	unlock, err := lock(root)
	if err != nil {
		return err
	}
	defer unlock()
	errs = append(errs, os.RemoveAll(c.dir))
	if others, err := List(); err == nil && len(others) == 0 {
		errs = append(errs, restoreSysctls(root))
	}
	return errors.Join(errs...)
}

// nodeNames finds the nodes by their network namespaces and cgroups, not by what the state says.
func (c *Cluster) nodeNames() ([]string, error) {
	roots, _, err := cgroupRoots()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, dir := range append(roots, "/run/netns") {
		found, err := filepath.Glob(filepath.Join(dir, c.Options.Name+"-n[1-9]"))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// killNode kills what runs on a node. Its pods' mounts go with them: they are in its mount namespace.
func killNode(name string) error { return killCgroup(name) }

// killMarked kills what has the mark of this cluster and runs outside the cgroups.
func (c *Cluster) killMarked() error {
	deadline := time.Now().Add(Patience)
	for {
		pids, err := marked(c.dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not die", pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func deleteNetns(name string) error {
	if _, err := os.Lstat(netnsPath(name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return run(exec.Command("ip", "netns", "del", name))
}

// Down takes the node's power: kubelet, kube-proxy, containerd and pods die at once, its mounts, cgroups and links go. Its disk and
// its Node object stay. The kubelet goes first: it would start again what dies.
func (n *Node) Down() error {
	c := n.cluster
	err := errors.Join(c.stop(n.daemon("kubelet"), 0), c.stop(n.daemon("kube-proxy"), 0), killNode(n.Cgroup), n.disconnect(),
		deleteNetns(n.Netns))
	if err != nil {
		return fmt.Errorf("take down node %s: %w", n.Name, err)
	}
	return nil
}

// Up boots the node again after Down, and returns when it is Ready.
func (n *Node) Up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	images, err := n.cluster.archives()
	if err != nil {
		return err
	}
	if err := errors.Join(n.connect(), n.cluster.routes()); err != nil {
		return fmt.Errorf("boot %s: %w", n.Name, err)
	}
	if err := n.boot(ctx); err != nil {
		return err
	}
	if err := n.join(ctx, images...); err != nil {
		return err
	}
	return n.cluster.waitNodes(ctx, n)
}

// AddNode makes one node more, and returns when it is Ready.
func (c *Cluster) AddNode(ctx context.Context) (*Node, error) {
	if len(c.Nodes) == maxNodes {
		return nil, fmt.Errorf("add node: a cluster has at most %d", maxNodes)
	}
	n := c.node(len(c.Nodes) + 1)
	c.Nodes = append(c.Nodes, n)
	c.Options.Nodes = len(c.Nodes)
	s, err := readState(c.dir)
	if err != nil {
		return nil, err
	}
	s.Options.Nodes = len(c.Nodes)
	if err := writeState(c.dir, s); err != nil {
		return nil, err
	}
	return n, n.Up(ctx)
}

// Delete removes the Node object of a node that is down, as an administrator does who has given it up.
func (n *Node) Delete(ctx context.Context) error {
	_, err := n.cluster.Kubectl(ctx, "", "delete", "node", n.Name)
	return err
}
