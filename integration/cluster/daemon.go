package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mark is the variable in a daemon's environment that tells whose it is: a number of a process is used again, and a daemon is
// never killed by its name.
const mark = "FAIRLEAD_CLUSTER"

// daemon starts cmd in a session of its own, with its output in log/NAME.log: it outlives this process.
func (c *Cluster) daemon(name string, cmd *exec.Cmd) error {
	log, err := os.OpenFile(filepath.Join(c.dir, "log", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// No other variable: a daemon is the same whoever starts it.
	cmd.Env = append(cmd.Env, mark+"="+filepath.Join(c.dir, name), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.reap.Go(func() { _ = cmd.Wait() })
	return os.WriteFile(c.pidFile(name), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
}

func (c *Cluster) pidFile(name string) string { return filepath.Join(c.dir, name+".pid") }

// pid is the process of a daemon; an error when it does not run.
func (c *Cluster) pid(name string) (int, error) {
	data, err := os.ReadFile(c.pidFile(name))
	if err != nil {
		return 0, fmt.Errorf("%s does not run", name)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil || markOf(pid) != filepath.Join(c.dir, name) {
		return 0, fmt.Errorf("%s has stopped:\n%s", name, tail(filepath.Join(c.dir, "log", name+".log")))
	}
	return pid, nil
}

// stop sends TERM, and KILL when grace is over; it returns when the daemon is gone.
func (c *Cluster) stop(name string, grace time.Duration) error {
	pid, err := c.pid(name)
	if err != nil {
		return nil // nothing runs
	}
	whose := filepath.Join(c.dir, name)
	deadline := time.Now().Add(grace)
	signal := syscall.SIGTERM
	for markOf(pid) == whose {
		if !time.Now().Before(deadline) {
			signal = syscall.SIGKILL
		}
		if signal != 0 {
			_ = syscall.Kill(pid, signal) // it may have gone
		}
		if signal == syscall.SIGTERM {
			signal = 0
		}
		if time.Since(deadline) > Patience {
			return fmt.Errorf("stop %s: process %d does not die", name, pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.Join(os.Remove(c.pidFile(name)))
}

// markOf returns the mark of a process, empty for any that has none or is gone.
func markOf(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(data, []byte{0}) {
		if s, ok := strings.CutPrefix(string(v), mark+"="); ok {
			return s
		}
	}
	return ""
}

// marked returns the processes whose mark is in folder dir, and what they have started with their environment.
func marked(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && strings.HasPrefix(markOf(pid), dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// tail returns the end of a log.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const size = 2048
	return string(data[max(0, len(data)-size):])
}

// run runs a command to its end, with its output in the error.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
