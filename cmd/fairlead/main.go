// Command fairlead is the control plane of a sidecar-less service mesh, and its command line.
//
// It stands around the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK: flags
// become one typed Config here, and nothing below reads the environment.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker (see the Makefile).
var version = "unknown"

// environment is what a command touches of its process.
type environment struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, environment{os.Stdin, os.Stdout, os.Stderr, os.Getenv}, os.Args[1:])
}

// errSilent is a failure that has been printed already.
var errSilent = errors.New("failed")

// execute runs one command line and returns the exit code: 0, or 1 when something is wrong.
func execute(ctx context.Context, env environment, args []string) int {
	root := newRoot(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintln(env.err, "error:", err)
	}
	return 1
}

func newRoot(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "fairlead",
		Short: "Control plane of a sidecar-less service mesh",
		Long: "Fairlead watches Kubernetes, the Gateway API and VirtualService-like resources, from a cluster or from a folder, and\n" +
			"serves them to the Envoy of each node.",
		Example: "  fairlead demo                              # see it work: real requests through a real Envoy\n" +
			"  fairlead check -f manifests/               # what is wrong with these files\n" +
			"  fairlead serve --source=files:manifests/   # serve them",
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetIn(env.in)
	root.SetOut(env.out)
	root.SetErr(env.err)
	root.AddCommand(serveCommand(env), demoCommand(env), checkCommand(env), proxyStatusCommand(), proxyConfigCommand(), waitCommand(), observeCommand(), explainCommand(env), caCommand(), certCommand(env), bootstrapCommand(), versionCommand())
	return root
}
