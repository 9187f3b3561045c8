// Package identity_test runs what gives a mesh its identities as it is installed: the binaries of the control plane and of the
// node agent, a real kube-apiserver that binds tokens to pods, real Envoys that take their certificates from the agents, and
// processes in the cgroups of pods.
package identity_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fairlead.io/fairlead/pkg/node/attest/podtest"
)

// binaries is the folder with fairlead and fairlead-node, built once.
var binaries string

func TestMain(m *testing.M) {
	podtest.Main(commands)
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if binaries, err = os.MkdirTemp("", "identity-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binaries)
	build := exec.Command("go", "build", "-o", binaries+string(filepath.Separator), "../../cmd/fairlead", "../../cmd/fairlead-node")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the binaries:", err)
		return 1
	}
	return m.Run()
}
