// Command netpol runs the public suites of network policy, unchanged, against Fairlead on clusters of integration/cluster:
// cyclonus, the conformance suite of the network policy API, and Kubernetes' own end-to-end tests. It needs root, and what
// `hack/tools/install.sh cluster` and `hack/tools/install.sh conformance` install.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "netpol:", err)
		os.Exit(1)
	}
}

// options are what may be chosen.
type options struct {
	cni, proxy, suites []string
	cases              string
	args               []string
	fairlead           bool
	logs, report       string
	wait               int // seconds that cyclonus gives every change
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "netpol",
		Short: "The public suites of network policy against Fairlead on real clusters",
		Long: "Starts a cluster of two nodes for each combination of network and kube-proxy, one after the other, installs this checkout's\n" +
			"Fairlead as config/install says, and runs the suites. Fails when a case fails, or when none has run.\n\n" +
			"--cases takes a part of a suite: tags for cyclonus (\"deny-all,named-port\"), a regular expression of names for the others.",
		Example: "  go run ./hack/netpol --cni bridge --proxy nftables --suite cyclonus --cases conflict,sctp\n" +
			"  go run ./hack/netpol --fairlead=false --suite network-policy-api     # nobody enforces: cases must fail",
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.cni, "cni", []string{"bridge", "ptp"}, "networks of the pods")
	f.StringSliceVar(&o.proxy, "proxy", []string{"iptables", "nftables"}, "modes of kube-proxy")
	f.StringSliceVar(&o.suites, "suite", suiteNames(), "suites, in this order")
	f.StringVar(&o.cases, "cases", "", "a part of the suite; with one suite only")
	f.StringArrayVar(&o.args, "arg", nil, "one more flag of the suite's own, as --ignore-loopback of cyclonus; with one suite only")
	f.BoolVar(&o.fairlead, "fairlead", true, "install Fairlead; without it, a suite that can fail does")
	f.StringVar(&o.logs, "logs", "", "folder for the whole output of the suites (default: a new one, which is printed)")
	f.StringVar(&o.report, "report", "", "folder for reports, as docs/conformance; a part of a suite is reported nowhere")
	f.IntVar(&o.wait, "wait", 1, "seconds that cyclonus waits after each change of the cluster")
	cmd.AddCommand(latency())
	return cmd
}

func run(ctx context.Context, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.logs == "" {
		dir, err := os.MkdirTemp("", "fairlead-netpol-")
		if err != nil {
			return err
		}
		o.logs = dir
	}
	fmt.Println("output of the suites:", o.logs)
	var all []result
	var errs []error
	for _, cni := range o.cni {
		for _, proxy := range o.proxy {
			results, err := combination(ctx, o, cni, proxy)
			all, errs = append(all, results...), append(errs, err)
			if ctx.Err() != nil {
				return errors.Join(append(errs, ctx.Err())...)
			}
		}
	}
	fmt.Print("\n", table(all))
	for _, r := range all {
		errs = append(errs, r.err())
	}
	return errors.Join(errs...)
}

func (o *options) check() error {
	if (o.cases != "" || len(o.args) > 0) && len(o.suites) != 1 {
		return errors.New("--cases and --arg need one --suite")
	}
	for _, s := range o.suites {
		if _, ok := suites()[s]; !ok {
			return fmt.Errorf("there is no suite %q: use %s", s, strings.Join(suiteNames(), ", "))
		}
	}
	if o.report != "" && (o.cases != "" || len(o.args) > 0 || !o.fairlead) {
		return errors.New("--report is for whole suites, with Fairlead")
	}
	return nil
}

// combination runs suites on a cluster of its own.
func combination(ctx context.Context, o options, cni, proxy string) (results []result, err error) {
	begin := time.Now()
	r, err := start(ctx, o, cni, proxy)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.cluster.Down(false)) }()
	fmt.Printf("[%s, %s] the cluster is ready after %v\n", cni, proxy, time.Since(begin).Round(time.Second))
	for _, name := range o.suites {
		one, err := r.suite(ctx, name)
		if err != nil {
			return results, fmt.Errorf("run %s with %s and %s: %w", name, cni, proxy, err)
		}
		results = append(results, one)
		if o.report != "" && len(one.Cases) > 0 {
			if err := one.write(o.report); err != nil {
				return results, err
			}
		}
	}
	return results, nil
}

func suiteNames() []string { return []string{"cyclonus", "network-policy-api", "e2e"} }
