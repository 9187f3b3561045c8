package main

import (
	"errors"
	"fmt"
	"math/bits"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fairlead.io/fairlead/pkg/node/agent"
	"fairlead.io/fairlead/pkg/node/datapath"
)

const (
	defaultBPF   = "/sys/fs/bpf/fairlead"
	defaultState = "/run/fairlead/policy"
)

// policyFlags are the flags about L3/L4 policy, as written.
type policyFlags struct {
	on  bool
	cfg agent.PolicyConfig
}

func (f *policyFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.on, "policy", false, "enforce L3/L4 policy in the kernel (needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN and Linux 6.6)")
	fs.StringVar(&f.cfg.Dir, "policy-bpf", defaultBPF, "directory of a bpffs for programs and maps, which enforce on while the agent is away")
	fs.StringVar(&f.cfg.State, "policy-state", defaultState, "directory for what must live as long as --policy-bpf, and no longer than the node's uptime")
	fs.StringVar(&f.cfg.Namespace, "policy-namespace", "", "path of the node's network namespace; this process's unless set (hostNetwork)")
	fs.Int32Var(&f.cfg.Priority, "policy-priority", datapath.DefaultPriority, "priority of the netfilter programs, between -100 (DNAT) and 100 (SNAT); the next one is used too")
	fs.BoolVar(&f.cfg.Audit, "policy-audit", false, "let everything pass, and tell what would have been denied")
	s := &f.cfg.Sizes
	fs.Uint32Var(&s.Addresses, "policy-addresses", 1<<16, "room for addresses of pods and nodes, of the whole cluster")
	fs.Uint32Var(&s.Identities, "policy-identities", 1<<16, "room for identities, of the whole cluster")
	fs.Uint32Var(&s.Rules, "policy-rules", 1<<18, "room for entries: those of each identity of this node's pods, for each peer identity that they name")
	fs.Uint32Var(&s.Ranges, "policy-ranges", 1<<16, "room for address ranges")
	fs.Uint32Var(&s.Flows, "policy-flows", 1<<17, "flows whose verdict is kept; the oldest go")
	fs.Uint32Var(&s.Events, "policy-events", 1<<20, "bytes of the ring buffer of flow events, a power of two")
}

// config gives nil when policy is off.
func (f *policyFlags) config() (*agent.PolicyConfig, error) {
	if !f.on {
		return nil, nil
	}
	var errs []error
	if f.cfg.Priority <= -100 || f.cfg.Priority >= 99 {
		errs = append(errs, fmt.Errorf("--policy-priority=%d: use one between -99 and 98, after DNAT and before SNAT", f.cfg.Priority))
	}
	if n := f.cfg.Sizes.Events; bits.OnesCount32(n) != 1 || n < uint32(os.Getpagesize()) {
		errs = append(errs, fmt.Errorf("--policy-events=%d: use a power of two of at least a page", n))
	}
	if f.cfg.Dir == "" || f.cfg.State == "" {
		errs = append(errs, errors.New("--policy-bpf and --policy-state are needed for --policy"))
	}
	return &f.cfg, errors.Join(errs...)
}

func uninstallCommand() *cobra.Command {
	var bpf, state string
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take away what enforces policy on this node: programs, maps and links",
		Long: "Takes away what enforces policy on this node: programs, links and maps. Until a pod's agent is started again with\n" +
			"--policy, everything passes. Stop the agent first.",
		Example: "  fairlead-node uninstall\n  fairlead-node uninstall --policy-bpf /sys/fs/bpf/fairlead --policy-state /run/fairlead/policy",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := datapath.Uninstall(bpf); err != nil {
				return err
			}
			if err := os.RemoveAll(state); err != nil {
				return fmt.Errorf("uninstall: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "nothing of policy is left on this node")
			return nil
		},
	}
	cmd.Flags().StringVar(&bpf, "policy-bpf", defaultBPF, "directory of programs and maps")
	cmd.Flags().StringVar(&state, "policy-state", defaultState, "directory of the agent's state")
	return cmd
}
