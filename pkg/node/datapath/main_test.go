package datapath

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

var inside = flag.Bool("inside", false, "the tests run in namespaces of their own, which go when they end")

// TestMain runs the tests again in a mount and a network namespace of their own, so that nothing is left behind whatever happens.
func TestMain(m *testing.M) {
	flag.Parse()
	if !*inside && !fuzzes() {
		cmd := exec.Command("/proc/self/exe", append(os.Args[1:], "-inside")...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Run(); err != nil {
			os.Stderr.WriteString("the tests need root: " + err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// fuzzes tells whether this is a run of a fuzzer or one of its workers, which need no kernel.
func fuzzes() bool {
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.fuzz=") || strings.HasPrefix(a, "-test.fuzzworker") {
			return true
		}
	}
	return false
}
