package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/kube"
	"fairlead.io/fairlead/pkg/source/schema"
	"fairlead.io/fairlead/pkg/status"
)

// serveFlags are the flags of serve, as written.
type serveFlags struct {
	source, kubeconfig, context string
	compat                      []string
	xds, admin, observe         string
	logLevel, logFormat         string
	leaseNamespace              string
	peers                       []string
	grace                       time.Duration
	mesh                        meshFlags
	identity                    identityFlags
}

func serveCommand(env environment) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --source=files:DIR|kube",
		Short: "Run the control plane",
		Long: "Reads a folder of manifests or a cluster, and serves every Envoy that connects by delta ADS. A change is served as soon\n" +
			"as it is read. Stops on SIGTERM: streams are ended first, so that the nodes go to another replica.\n\n" +
			"With --ca it is the certificate authority of the mesh, and --tls-address serves xDS, the authority and other replicas by mTLS.\n" +
			"--xds-address serves xDS in plaintext, on this machine only. One of the two is needed.",
		Example: "  fairlead serve --source=files:manifests/ --xds-address 127.0.0.1:15010\n" +
			"  fairlead serve --source=kube --ca=secret --tls-address=0.0.0.0:15012 --lease-namespace=fairlead-system\n" +
			"  fairlead serve --source=files:manifests/ --ca=folder:ca/ --tls-address=127.0.0.1:15012 --trust-bundle=file:root-cert.pem\n" +
			"  fairlead serve --source=kube --compat=istio --xds-address unix:/run/fairlead/xds.sock --admin unix:/run/fairlead/admin.sock\n" +
			"  fairlead serve --source=files:manifests/ --xds-address 127.0.0.1:15010 --outbound '127.0.0.1:15001,namespace=shop,labels=app=web;version=v1'",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(env.err)
			if err != nil {
				return err
			}
			s, err := server.New(cfg)
			if err != nil {
				return err
			}
			limitMemory(cfg.Log)
			paceCollections(cmd.Context())
			return s.Run(cmd.Context())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.source, "source", "", "files:DIR for a folder of manifests, kube for a cluster (required)")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file for --source=kube; default KUBECONFIG, ~/.kube/config, then the pod's own account")
	fs.StringVar(&f.context, "context", "", "context of the kubeconfig")
	fs.StringSliceVar(&f.compat, "compat", nil, "foreign API groups to serve from a cluster: istio, cilium (a folder's are always served)")
	fs.StringVar(&f.xds, "xds-address", "", "where to serve delta ADS in plaintext: loopback IP:PORT or unix:/path")
	fs.StringVar(&f.admin, "admin", defaultAdmin, "where to serve the admin interface: loopback IP:PORT or unix:/path")
	fs.StringVar(&f.observe, "observe-address", "", "where to show the flows of all nodes to whoever can connect (Hubble's observer API): loopback IP:PORT or unix:/path;\nby the TLS port they are shown to who has the right")
	fs.StringVar(&f.leaseNamespace, "lease-namespace", "", "namespace of the Lease that elects the one replica which writes conditions, and of those by which replicas find one another; without it this replica writes")
	fs.StringSliceVar(&f.peers, "peers", nil, "addresses of other replicas, of their TLS ports if this one has one, to know of their nodes too (this one's own may be among them);\n--lease-namespace finds them by itself")
	fs.DurationVar(&f.grace, "grace", 30*time.Second, "how long a node, or a replica with its nodes, that has gone is waited for before an object counts as acknowledged without it")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	f.identity.add(cmd)
	f.mesh.add(cmd)
	return cmd
}

// config checks every flag and names all that are wrong at once.
func (f *serveFlags) config(log io.Writer) (server.Config, error) {
	cfg := server.Config{XDS: f.xds, Admin: f.admin, Observe: f.observe, Peers: f.peers, Grace: f.grace, Version: version, Why: true}
	var errs []error
	var err error
	if cfg.Log, err = logger(log, f.logLevel, f.logFormat); err != nil {
		errs = append(errs, err)
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if f.xds == "" && f.identity.address == "" && f.identity.ca == "" {
		errs = append(errs, errors.New("nothing would be served: use --ca and --tls-address, or --xds-address=127.0.0.1:15010 for plaintext on this machine"))
	}
	for flag, address := range map[string]string{"--xds-address": f.xds, "--admin": f.admin, "--observe-address": f.observe} {
		if flag != "--admin" && address == "" {
			continue
		}
		if _, err := server.ParseAddress(address); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", flag, err))
		}
	}
	if f.grace <= 0 {
		errs = append(errs, fmt.Errorf("--grace=%s: use a duration above 0, such as 30s", f.grace))
	}
	parsePeer := server.ParseAddress
	if f.identity.address != "" {
		parsePeer = server.ParseRemote
	}
	for _, p := range f.peers {
		if _, err := parsePeer(p); err != nil {
			errs = append(errs, fmt.Errorf("--peers: %w", err))
		}
	}
	if cfg.Mesh, err = f.mesh.config(strings.HasPrefix(f.source, "files:")); err != nil {
		errs = append(errs, err)
	}
	if cfg.Source, err = f.reader(&cfg); err != nil {
		errs = append(errs, err)
	}
	if cfg.Identity, err = f.identity.config(&cfg.Mesh, f, &cfg); err != nil {
		errs = append(errs, err)
	}
	return cfg, errors.Join(errs...)
}

// reader makes what --source names.
func (f *serveFlags) reader(cfg *server.Config) (server.Source, error) {
	dir, isFiles := strings.CutPrefix(f.source, "files:")
	switch {
	case isFiles:
		return f.folder(dir, cfg.Log)
	case f.source == "kube":
		return f.cluster(cfg)
	case f.source == "":
		return nil, errors.New("--source is missing: use --source=files:DIR or --source=kube")
	}
	return nil, fmt.Errorf("--source=%s: use --source=files:DIR or --source=kube", f.source)
}

func (f *serveFlags) folder(dir string, log *slog.Logger) (server.Source, error) {
	if f.kubeconfig != "" || f.context != "" || f.leaseNamespace != "" {
		return nil, errors.New("--kubeconfig, --context and --lease-namespace belong to --source=kube")
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil, fmt.Errorf("--source=files:%s: there is no such folder; make it, or name another", dir)
	}
	return files.New(files.Config{Dir: dir, Schemas: schema.New(), Log: log}), nil
}

// cluster reads from an API server, and writes conditions back to it.
func (f *serveFlags) cluster(cfg *server.Config) (server.Source, error) {
	for _, c := range f.compat {
		if c != "istio" && c != "cilium" {
			return nil, fmt.Errorf("--compat=%s: only istio and cilium are known", c)
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	rest, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--source=kube: no way to the API server; name a file with --kubeconfig: %w", err)
	}
	cfg.Conditions = &server.Conditions{REST: rest, Compat: slices.Contains(f.compat, "istio"), Cilium: slices.Contains(f.compat, "cilium")}
	if f.leaseNamespace != "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("name this replica: %w", err)
		}
		cfg.Conditions.Lease = &status.Lease{Namespace: f.leaseNamespace, Name: "fairlead-status", Identity: fmt.Sprintf("%s-%d", host, os.Getpid())}
	}
	return kube.New(kube.Config{REST: rest, Compat: f.compat, Log: cfg.Log})
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
