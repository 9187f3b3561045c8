package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A machine that runs another cluster keeps what that one's kubelets have set.
func sysctls(t *testing.T) string {
	t.Helper()
	var values []string
	for _, name := range machineSysctls {
		data, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, name+"="+strings.TrimSpace(string(data)))
	}
	return strings.Join(values, " ")
}

func TestNothingIsLeftOfAKilledTestRun(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("a cluster needs root")
	}
	name := "t" + randomName()
	values := sysctls(t)
	before, err := traces(name)
	if err != nil {
		t.Fatal(err)
	}
	owner := exec.Command("sleep", "1000")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := up(t.Context(), Options{Name: name, Nodes: 1}, owner.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := Reap(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Nodes[0].Pid(); err != nil {
		t.Fatalf("the cluster of a living run has been taken down: %v", err)
	}
	_ = owner.Process.Kill()
	_ = owner.Wait()
	if err := Reap(); err != nil {
		t.Fatal(err)
	}
	c.reap.Wait()
	if left, err := leftSince(before, name); err != nil || len(left) > 0 {
		t.Errorf("left on the machine: %q (error %v)", left, err)
	}
	if others, err := List(); err == nil && len(others) == 0 && sysctls(t) != values {
		t.Errorf("sysctls are %s, were %s", sysctls(t), values)
	}
}

func TestDaemonThatBecomesAnotherProgramIsNotTakenForStopped(t *testing.T) {
	c := &Cluster{dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(c.dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A hundred programs, one after the other, in one process.
	const script = `[ "$1" = 0 ] && exec sleep 1000; exec sh -c "$0" "$0" $(($1 - 1))`
	if err := c.daemon("chameleon", exec.Command("/bin/sh", "-c", script, script, "100")); err != nil {
		t.Fatal(err)
	}
	pid, err := c.pid("chameleon")
	for err == nil {
		if data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); string(data) == "sleep\n" {
			break
		}
		_, err = c.pid("chameleon")
	}
	if err != nil {
		t.Error(err)
	}
	if err := c.stop("chameleon", 0); err != nil {
		t.Fatal(err)
	}
	c.reap.Wait()
	if _, err := c.pid("chameleon"); err == nil {
		t.Error("a daemon that was stopped runs")
	}
}
