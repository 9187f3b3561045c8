package main

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fairlead.io/fairlead/pkg/node/agent"
	"fairlead.io/fairlead/pkg/node/cni"
	"fairlead.io/fairlead/pkg/node/datapath"
)

const (
	defaultBPF   = "/sys/fs/bpf/fairlead"
	defaultState = "/run/fairlead/policy"

	defaultConfDir = "/etc/cni/net.d"
	defaultBinDir  = "/opt/cni/bin"
)

// policyFlags are the flags about L3/L4 policy, as written.
type policyFlags struct {
	on, cni         bool
	confDir, binDir string
	exempt          []string
	wait            time.Duration
	cfg             agent.PolicyConfig
}

func (f *policyFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.on, "policy", false, "enforce L3/L4 policy in the kernel (needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN and Linux 6.6)")
	fs.StringVar(&f.cfg.Dir, "policy-bpf", defaultBPF, "directory of a bpffs for programs and maps, which enforce on while the agent is away")
	fs.StringVar(&f.cfg.State, "policy-state", defaultState, "directory for what must live as long as --policy-bpf, and no longer than the node's uptime")
	fs.StringVar(&f.cfg.Namespace, "policy-namespace", "", "path of the node's network namespace; this process's unless set (hostNetwork)")
	fs.Int32Var(&f.cfg.Priority, "policy-priority", datapath.DefaultPriority, "priority of the netfilter programs, between -100 (DNAT) and 100 (SNAT); the next one is used too")
	fs.BoolVar(&f.cfg.Audit, "policy-audit", false, "let everything pass, and tell what would have been denied")
	fs.StringVar(&f.cfg.Flows, "flows-socket", "/run/fairlead/flows/hubble.sock", "with --policy: Unix socket of the flows of this node, by Hubble's observer API; empty is not served")
	fs.IntVar(&f.cfg.KeptFlows, "flows-kept", 4096, "with --policy: how many flows are kept for who asks; 500 bytes each")
	fs.BoolVar(&f.cni, "cni", false, "with --policy: put a CNI plugin last in the node's CNI configuration, which holds pods back until their traffic is judged")
	fs.StringVar(&f.cfg.CNI, "cni-socket", "/run/fairlead/cni/cni.sock", "with --policy: Unix socket that the plugin asks at, a path that is the same on the node; empty is not served")
	fs.StringVar(&f.confDir, "cni-conf-dir", defaultConfDir, "the node's CNI configurations")
	fs.StringVar(&f.binDir, "cni-bin-dir", defaultBinDir, "the node's CNI plugins")
	fs.StringSliceVar(&f.exempt, "cni-exempt", cni.DefaultExempt(), "namespaces whose pods are not held back, since a node boots with them")
	fs.DurationVar(&f.wait, "cni-wait", cni.DefaultWait, "how long a pod is held back before it is refused, and tried again by the kubelet")
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
	if f.cni {
		self, err := os.Executable()
		errs = append(errs, err)
		f.cfg.Installer = &cni.Installer{
			ConfDir: f.confDir, BinDir: f.binDir, Binary: self,
			Config: cni.Config{Socket: f.cfg.CNI, Exempt: f.exempt, Wait: f.wait.Milliseconds()},
		}
		if f.cfg.CNI == "" || f.wait < time.Second || f.wait > time.Minute {
			errs = append(errs, fmt.Errorf("--cni: --cni-socket is needed, and --cni-wait=%s between 1s and 1m", f.wait))
		}
	}
	return &f.cfg, errors.Join(errs...)
}

func uninstallCommand() *cobra.Command {
	var bpf, state, confDir, binDir string
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take away what enforces policy on this node: CNI plugin, programs, maps and links",
		Long: "Takes away what enforces policy on this node: the CNI plugin, programs, links and maps. Until the agent is started again\n" +
			"with --policy, everything passes. Stop the agent first.",
		Example: "  fairlead-node uninstall\n  fairlead-node uninstall --policy-bpf /sys/fs/bpf/fairlead --policy-state /run/fairlead/policy",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The plugin first: without the agent it would hold pods back.
			plugin := &cni.Installer{ConfDir: confDir, BinDir: binDir}
			if err := plugin.Uninstall(); err != nil {
				return err
			}
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
	cmd.Flags().StringVar(&confDir, "cni-conf-dir", defaultConfDir, "the node's CNI configurations")
	cmd.Flags().StringVar(&binDir, "cni-bin-dir", defaultBinDir, "the node's CNI plugins")
	return cmd
}

func cniCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "cni",
		Short:   "Be the CNI plugin, as container runtimes call it: by environment variables and standard input",
		Long:    "Is what --cni installs as " + cni.PluginName + ": it holds a pod back until the agent judges its traffic.",
		Example: "  CNI_COMMAND=VERSION fairlead-node cni </dev/null",
		Args:    cobra.NoArgs,
		Run:     func(*cobra.Command, []string) { cni.Main(cni.PluginName + " " + version) },
	}
}
