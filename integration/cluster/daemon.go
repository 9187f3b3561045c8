package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mark is the variable in a daemon's environment that tells whose it is, for what is left when its files are gone. Nothing is killed
// by its name.
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
	pid := cmd.Process.Pid
	return os.WriteFile(c.pidFile(name), fmt.Appendf(nil, "%d %s", pid, born(pid)), 0o600)
}

func (c *Cluster) pidFile(name string) string { return filepath.Join(c.dir, name+".pid") }

// pid is the process of a daemon; an error when it does not run. A number is used again, so the time of birth belongs to it. The
// mark would not do: a process shows no environment for a moment while nsenter becomes another program.
func (c *Cluster) pid(name string) (int, error) {
	pid, since, err := c.started(name)
	if err != nil {
		return 0, err
	}
	if since == "" || born(pid) != since {
		return 0, fmt.Errorf("%s has stopped:\n%s", name, tail(filepath.Join(c.dir, "log", name+".log")))
	}
	return pid, nil
}

// started reads what daemon has noted.
func (c *Cluster) started(name string) (pid int, since string, err error) {
	data, err := os.ReadFile(c.pidFile(name))
	if err != nil {
		return 0, "", fmt.Errorf("%s does not run", name)
	}
	number, since, _ := strings.Cut(string(data), " ")
	if pid, err = strconv.Atoi(number); err != nil {
		return 0, "", fmt.Errorf("read %s: %w", c.pidFile(name), err)
	}
	return pid, since, nil
}

// stop sends TERM, and KILL when grace is over; it returns when the daemon is gone.
func (c *Cluster) stop(name string, grace time.Duration) error {
	pid, err := c.pid(name)
	if err != nil {
		return nil // nothing runs
	}
	since := born(pid)
	deadline := time.Now().Add(grace)
	if grace > 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may have gone
	}
	for since != "" && born(pid) == since {
		if now := time.Now(); !now.Before(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			if now.Sub(deadline) > Patience {
				return fmt.Errorf("stop %s: process %d does not die", name, pid)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return os.Remove(c.pidFile(name))
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
