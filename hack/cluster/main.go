// Command cluster keeps a Kubernetes cluster of several nodes on this machine, for hand work; see integration/cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/cluster/install"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command().ExecuteContext(ctx)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit): // it has said itself what is wrong
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var name string
	root := &cobra.Command{
		Use:   "cluster",
		Short: "A real Kubernetes cluster of several nodes on this machine",
		Long: "Runs etcd, the control plane of Kubernetes, and nodes with containerd, kubelet and kube-proxy in network namespaces.\n" +
			"Needs root, and what `hack/tools/install.sh cluster` installs. Nothing leads out of a cluster.",
		Example: "  go run ./hack/cluster up --nodes 3 --cni ptp\n" +
			"  go run ./hack/cluster install\n" +
			"  go run ./hack/cluster k get pods -A -o wide\n" +
			"  go run ./hack/cluster node 1 -- ip route\n" +
			"  go run ./hack/cluster down",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&name, "name", "fairlead", "name of the cluster; several may be up")
	root.AddCommand(up(&name), down(&name), fairlead(&name), kubectl(&name), node(&name), power(&name, "node-down"), power(&name, "node-up"),
		add(&name), load(&name), list())
	return root
}

func up(name *string) *cobra.Command {
	var o cluster.Options
	cmd := &cobra.Command{
		Use: "up", Short: "Start a cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name = *name
			begin := time.Now()
			c, err := cluster.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Printf("cluster %s is up after %v; kubeconfig for its namespaces: %s\n", *name, time.Since(begin).Round(100*time.Millisecond), c.Kubeconfig())
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Nodes, "nodes", 2, "number of nodes, at most 9")
	f.StringVar(&o.Proxy, "proxy", "nftables", "mode of kube-proxy: nftables, iptables or none")
	f.StringVar(&o.CNI, "cni", "bridge", "network of the pods: bridge, or ptp for routed links")
	f.BoolVar(&o.DualStack, "dual-stack", false, "IPv6 beside IPv4")
	f.BoolVar(&o.DNS, "dns", true, "install CoreDNS")
	f.StringArrayVar(&o.APIServerArgs, "apiserver-arg", nil, "one more flag of the API server, as --feature-gates=X=true")
	return cmd
}

func down(name *string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "down", Short: "Remove a cluster, also what is left of one", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			names := []string{*name}
			if all {
				var err error
				if names, err = cluster.List(); err != nil {
					return err
				}
			}
			var errs []error
			for _, n := range names {
				errs = append(errs, cluster.Remove(n))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all clusters, those of running tests too")
	return cmd
}

func fairlead(name *string) *cobra.Command {
	return &cobra.Command{
		Use: "install", Short: "Build this checkout's Fairlead and install it, as config/install says; again replaces it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(*name)
			if err != nil {
				return err
			}
			if err := install.Run(cmd.Context(), c, install.Config{Tag: strconv.FormatInt(time.Now().Unix(), 36)}); err != nil {
				return err
			}
			return install.Wait(cmd.Context(), c)
		},
	}
}

func kubectl(name *string) *cobra.Command {
	return &cobra.Command{
		Use: "k ARGUMENT...", Short: "kubectl as administrator", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			// All flags are kubectl's, but --name in the first place.
			if len(args) > 1 && (args[0] == "--name" || args[0] == "-name") {
				*name, args = args[1], args[2:]
			}
			c, err := cluster.Open(*name)
			if err != nil {
				return err
			}
			return attached(c.KubectlCommand(cmd.Context(), args...))
		},
	}
}

// attached runs a command on this terminal.
func attached(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// find returns a node by its number.
func find(name, number string) (*cluster.Node, error) {
	c, err := cluster.Open(name)
	if err != nil {
		return nil, err
	}
	i, err := strconv.Atoi(number)
	if err != nil || i < 1 || i > len(c.Nodes) {
		return nil, fmt.Errorf("node %q: use 1 to %d", number, len(c.Nodes))
	}
	return c.Nodes[i-1], nil
}

func node(name *string) *cobra.Command {
	return &cobra.Command{
		Use: "node NUMBER [-- COMMAND...]", Short: "A shell or a command on a node, in its namespaces", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := find(*name, args[0])
			if err != nil {
				return err
			}
			words := append(args[1:], "/bin/bash")
			if len(args) > 1 {
				words = args[1:]
			}
			c, err := n.Command(cmd.Context(), words[0], words[1:]...)
			if err != nil {
				return err
			}
			return attached(c)
		},
	}
}

func power(name *string, verb string) *cobra.Command {
	short := map[string]string{"node-down": "Take a node's power", "node-up": "Boot a node again"}[verb]
	return &cobra.Command{
		Use: verb + " NUMBER", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := find(*name, args[0])
			if err != nil {
				return err
			}
			if verb == "node-down" {
				return n.Down()
			}
			return n.Up(cmd.Context())
		},
	}
}

func add(name *string) *cobra.Command {
	return &cobra.Command{
		Use: "node-add", Short: "Add a node", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(*name)
			if err != nil {
				return err
			}
			n, err := c.AddNode(cmd.Context())
			if err == nil {
				fmt.Println(n.Name)
			}
			return err
		},
	}
}

func load(name *string) *cobra.Command {
	return &cobra.Command{
		Use: "load REF FILE...", Short: "Pack files into an image, and bring it to every node; the first is what it runs",
		Example: "  CGO_ENABLED=0 go build -o bin/app ./app && go run ./hack/cluster load fairlead.test/app:1 bin/app",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.Open(*name)
			if err != nil {
				return err
			}
			image := cluster.Image{Refs: args[:1], Entrypoint: []string{"/" + filepath.Base(args[1])}, Files: map[string]string{}}
			for _, file := range args[1:] {
				image.Files["/"+filepath.Base(file)] = file
			}
			return c.Load(cmd.Context(), image)
		},
	}
}

func list() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "The clusters that are up", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			names, err := cluster.List()
			for _, n := range names {
				fmt.Println(n)
			}
			return err
		},
	}
}
