package attest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"fairlead.io/fairlead/pkg/node/attest/podtest"
)

func TestMain(m *testing.M) {
	podtest.Main(map[string]func(*bufio.Scanner, []string) error{
		"dial": dial, "init": initial, "agent": agent,
		"init-in-cgroup-namespace": func(in *bufio.Scanner, args []string) error { return within(in, args, syscall.CLONE_NEWCGROUP) },
	})
	goleak.VerifyTestMain(m)
}

// initial runs another command as a child, hands its input on, and stays when the child ends.
func initial(in *bufio.Scanner, args []string) error { return within(in, args, 0) }

func within(in *bufio.Scanner, args []string, flags uintptr) error {
	child := exec.Command("/proc/self/exe", append([]string{"podtest-child"}, args...)...)
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	to, err := child.StdinPipe()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	child.ExtraFiles = []*os.File{r}
	if err := child.Start(); err != nil {
		return err
	}
	go func() { _, _ = child.Process.Wait() }()
	for line := "go"; ; line = in.Text() {
		if _, err := fmt.Fprintln(to, line); err != nil || !in.Scan() {
			return err
		}
	}
}

// agent attests one connection, and says which pod it is of.
func agent(in *bufio.Scanner, args []string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: args[0], Net: "unix"})
	if err != nil {
		return err
	}
	fmt.Println("listening")
	c, err := l.AcceptUnix()
	if err != nil {
		return err
	}
	caller, err := New(Config{}).Attest(context.Background(), c)
	if err != nil {
		return err
	}
	fmt.Println(caller.PodUID)
	in.Scan()
	return nil
}

// dial connects at each line "dial", has a child that holds the connections and ends by itself at "leave".
func dial(in *bufio.Scanner, args []string) error {
	var files []*os.File
	for {
		c, err := net.Dial("unix", args[0])
		if err != nil {
			return err
		}
		f, err := c.(*net.UnixConn).File()
		if err != nil {
			return err
		}
		files = append(files, f)
		fmt.Println("connected")
		if !in.Scan() {
			return nil
		}
		switch in.Text() {
		case "dial":
		case "leave":
			child := exec.Command("/proc/self/exe", "podtest-child", "pause")
			child.ExtraFiles = files
			child.Stdin = os.NewFile(3, "kept open by initial")
			if err := child.Start(); err != nil {
				return err
			}
			return nil
		default:
			return errors.New("what is " + in.Text())
		}
	}
}
