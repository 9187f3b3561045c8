package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/user"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/node/agent"
	"fairlead.io/fairlead/pkg/node/control"
)

const (
	defaultAdmin    = "127.0.0.1:15020"
	defaultServerID = "spiffe://cluster.local/ns/fairlead-system/sa/fairlead"
	defaultToken    = "/var/run/secrets/fairlead/token"
)

// gcPercent trades time for memory: what is kept is that of the whole cluster.
const gcPercent = 40

// runFlags are the flags of the agent, as written.
type runFlags struct {
	servers             []string
	serverID            string
	cfg                 agent.Config
	group               string
	policy              policyFlags
	logLevel, logFormat string
}

func runCommand(log io.Writer) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "fairlead-node --server HOST:PORT --node-name NAME (--trust-bundle FILE | --trust-hash sha256:HEX)",
		Short: "The agent of a node: identities and policy for its pods",
		Long: "Gets the node's own SVID with a ServiceAccount token, then one for each identity of the pods that run here as soon as they\n" +
			"appear, and renews them long before they end. Serves them to the node's Envoy (SDS) and to the pods (SPIFFE Workload API).\n" +
			"Keys are in memory only. Without a control plane it goes on with what it has.\n\n" +
			"With --policy, L3/L4 policy is enforced by programs in the kernel, which go on when the agent does not.",
		Example: "  fairlead-node --server fairlead.fairlead-system.svc:15012 --node-name node-a --trust-bundle /etc/fairlead/trust/root.pem\n" +
			"  fairlead-node --server 10.0.0.7:15012 --server 10.0.0.8:15012 --node-name node-a --trust-hash sha256:5f0c…\n" +
			"  fairlead-node status",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(log)
			if err != nil {
				return err
			}
			// There is one agent on each node, and it has little to do.
			debug.SetGCPercent(gcPercent)
			return agent.Run(cmd.Context(), cfg)
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&f.servers, "server", nil, "HOST:PORT of a control plane's TLS port; may be repeated (required)")
	fs.StringVar(&f.serverID, "server-id", defaultServerID, "SPIFFE ID that a control plane must prove; its trust domain is the mesh's")
	fs.StringVar(&f.cfg.Node, "node-name", "", "name of this node (required; in a pod from the downward API, spec.nodeName)")
	fs.StringVar(&f.cfg.Token, "token", defaultToken, "file with this agent's ServiceAccount token; read anew at each use")
	fs.StringVar(&f.cfg.TrustBundle, "trust-bundle", "", "file of PEM root certificates that verify a control plane, such as a mounted ConfigMap; read anew at each use")
	fs.StringVar(&f.cfg.TrustHash, "trust-hash", "", "sha256:HEX of the DER of a root certificate that a control plane shows in its chain")
	fs.StringVar(&f.cfg.SDSSocket, "sds-socket", "/run/fairlead/sds/sds.sock", "Unix socket of SDS, for the node's Envoy alone; empty is not served")
	fs.StringVar(&f.group, "sds-group", "", "group, by name or number, that may open --sds-socket too; none unless set")
	fs.StringVar(&f.cfg.WorkloadSocket, "workload-socket", "/run/fairlead/workload/api.sock", "Unix socket of the SPIFFE Workload API, for pods; empty is not served")
	fs.StringVar(&f.cfg.Admin, "admin", defaultAdmin, "where to serve /metrics, /readyz and /api/status: loopback IP:PORT or unix:/path; empty is not served")
	fs.DurationVar(&f.cfg.TTL, "svid-ttl", 0, "how long SVIDs should be valid; the control plane's default unless set, which caps it too")
	f.policy.add(fs)
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	return cmd
}

// config checks every flag and names all that are wrong at once.
func (f *runFlags) config(out io.Writer) (agent.Config, error) {
	cfg := f.cfg
	cfg.Servers, cfg.Version, cfg.SDSGroup = f.servers, version, -1
	var errs []error
	var err error
	if cfg.Log, err = logger(out, f.logLevel, f.logFormat); err != nil {
		errs = append(errs, err)
	}
	if len(cfg.Servers) == 0 {
		errs = append(errs, errors.New("--server is missing: name a control plane, such as fairlead.fairlead-system.svc:15012"))
	}
	for _, s := range cfg.Servers {
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("--server=%s: use HOST:PORT", s))
		}
	}
	if cfg.ServerID, err = spiffeid.FromString(f.serverID); err != nil {
		errs = append(errs, fmt.Errorf("--server-id=%s: %w", f.serverID, err))
	}
	if cfg.Node == "" {
		errs = append(errs, errors.New("--node-name is missing: in a pod it is spec.nodeName, by the downward API"))
	}
	if cfg.TTL < 0 || (cfg.TTL > 0 && cfg.TTL < time.Second) {
		errs = append(errs, fmt.Errorf("--svid-ttl=%s: use a duration of at least 1s, or 0 for the control plane's default", cfg.TTL))
	}
	if _, err := control.NewTrust(cfg.TrustBundle, cfg.TrustHash); err != nil {
		errs = append(errs, err)
	}
	if cfg.Policy, err = f.policy.config(); err != nil {
		errs = append(errs, err)
	}
	if f.group != "" {
		if cfg.SDSGroup, err = groupID(f.group); err != nil {
			errs = append(errs, err)
		}
	}
	return cfg, errors.Join(errs...)
}

func groupID(name string) (int, error) {
	if id, err := strconv.Atoi(name); err == nil && id >= 0 {
		return id, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("--sds-group=%s: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}

func logger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level=%s: use debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format=%s: use text or json", format)
}
