// Command fairlead-node is the agent of a node: it holds the identities of the pods that run here, for the node's Envoy and for
// the pods.
//
// Flags become one typed Config here; nothing below reads the environment. See package node for the line on which it stands.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/pkg/node/cni"
)

// version is set by the linker (see the Makefile).
var version = "unknown"

func main() { os.Exit(run()) }

func run() int {
	if filepath.Base(os.Args[0]) == cni.PluginName {
		cni.Main(cni.PluginName + " " + version)
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, os.Stdout, os.Stderr, os.Args[1:])
}

// execute runs one command line and returns the exit code: 0, or 1 when something is wrong.
func execute(ctx context.Context, out, errs io.Writer, args []string) int {
	root := newRoot(errs)
	root.SetOut(out)
	root.SetErr(errs)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(errs, "error:", err)
		return 1
	}
	return 0
}

func newRoot(log io.Writer) *cobra.Command {
	root := runCommand(log)
	root.Version = version
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions = cobra.CompletionOptions{HiddenDefaultCmd: true}
	root.AddCommand(statusCommand(), uninstallCommand(), cniCommand())
	return root
}
