package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/issue"
	"fairlead.io/fairlead/pkg/ca/rotate/roster"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
)

// What is kept in the server's namespace, unless a flag says otherwise.
const (
	caSecret        = "fairlead-ca"
	trustBundleMap  = "fairlead-trust-bundle"
	rosterMap       = "fairlead-nodes"
	rosterFile      = "nodes.json" // of --ca=folder, and of the folder of its own of --ca=mounted
	authorityLease  = "fairlead-authority"
	defaultAudience = "fairlead"
	istioAudience   = "istio-ca"
)

// identityFlags are the flags of the certificate authority and the TLS port, as written.
type identityFlags struct {
	address, advertise  string
	dns, aliases        []string
	ca, account         string
	agents, audiences   []string
	keys, publish       string
	federate, bundle    string
	bundleCert, issuer  string
	ttl, ttlMin, ttlMax time.Duration
	skew                time.Duration
}

func (f *identityFlags) add(cmd *cobra.Command) {
	d := issue.DefaultPolicy()
	fs := cmd.Flags()
	fs.StringVar(&f.address, "tls-address", "", "where to serve xDS, the certificate authority and other replicas by TLS 1.3: IP:PORT, such as 0.0.0.0:15012; needs --ca")
	fs.StringVar(&f.advertise, "advertise-address", "", "IP:PORT where other replicas reach the TLS port (default the address of this machine that leads to the API server)")
	fs.StringSliceVar(&f.dns, "tls-dns", nil, "DNS names in the certificate of the TLS port (default those of the Service fairlead in the server's namespace)")
	fs.StringVar(&f.ca, "ca", "", "where the authority is kept: secret[:NAMESPACE/NAME] (made when it is not there), mounted:DIR for files that\nsomebody else writes (ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem; or tls.crt, tls.key, ca.crt), with\n\",STATE\" for a folder of its own where there is no cluster; folder:DIR")
	fs.StringVar(&f.account, "service-account", "fairlead-system/fairlead", "NAMESPACE/NAME of the control plane's ServiceAccount, which is its identity")
	fs.StringSliceVar(&f.agents, "node-agents", []string{"fairlead-system/fairlead-node"}, "NAMESPACE/NAME of the ServiceAccounts whose pods act for the node that they run on")
	fs.StringSliceVar(&f.audiences, "token-audience", nil, "audiences of ServiceAccount tokens that are believed (default fairlead, and istio-ca with --compat=istio)")
	fs.StringVar(&f.keys, "token-keys", "", "what verifies tokens without asking the API server: cluster, none, or file:JWKS,ISSUER (default cluster with --source=kube, none otherwise)")
	fs.StringVar(&f.publish, "trust-bundle", "", "where the roots are published for nodes to mount, as root-cert.pem: configmap:NAMESPACE/NAME, file:PATH or none\n(default ConfigMap fairlead-trust-bundle in the server's namespace with --source=kube, none otherwise)")
	fs.StringSliceVar(&f.aliases, "trust-domain-alias", nil, "further names of the trust domain, whose identities are taken for those of the same path in it")
	fs.StringVar(&f.federate, "federate", "", "file of other trust domains whose bundles are fetched: {federation: [{trustDomain, url, profile: https_web or https_spiffe, …}]}")
	fs.StringVar(&f.bundle, "bundle-address", "", "IP:PORT where our own bundle, and the keys of JWT-SVIDs, are served by HTTPS to everybody: /bundle, /keys")
	fs.StringVar(&f.bundleCert, "bundle-certificate", "", "CERT.pem,KEY.pem that --bundle-address is served with (https_web); the server's own SVID unless set (https_spiffe)")
	fs.StringVar(&f.issuer, "jwt-issuer", "", "https URL of --bundle-address, for OIDC discovery there")
	fs.DurationVar(&f.ttl, "svid-ttl", d.TTL, "how long a certificate is valid whose owner asks for nothing else")
	fs.DurationVar(&f.ttlMin, "svid-ttl-min", d.MinTTL, "the shortest that a certificate may be asked for")
	fs.DurationVar(&f.ttlMax, "svid-ttl-max", d.MaxTTL, "the longest")
	fs.DurationVar(&f.skew, "clock-skew", 5*time.Minute, "how far the clocks of the mesh are apart at most: an authority that was replaced is trusted for that long beyond its last certificate")
}

// config checks the flags. It gives nil when neither a TLS port nor an authority is asked for.
func (f *identityFlags) config(mesh *resolve.Config, serve *serveFlags, cfg *server.Config) (*server.Identity, error) {
	if f.address == "" && f.ca == "" {
		return nil, nil
	}
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	switch {
	case f.ca == "":
		add(errors.New("--tls-address needs an authority to serve TLS with: add --ca=secret on a cluster, or --ca=folder:DIR"))
	case f.address == "":
		add(errors.New("--ca needs a port to be called at: add --tls-address=0.0.0.0:15012"))
	default:
		_, err := server.ParseRemote(f.address)
		add(wrapFlag("--tls-address", err))
	}
	if f.advertise != "" {
		_, err := server.ParseRemote(f.advertise)
		add(wrapFlag("--advertise-address", err))
	}
	i := &server.Identity{Address: f.address, Advertise: f.advertise, Audiences: f.audiences, DNS: f.dns}
	var err error
	i.Account, err = serviceAccount("--service-account", f.account)
	add(err)
	for _, a := range f.agents {
		account, err := serviceAccount("--node-agents", a)
		add(err)
		i.NodeAgents = append(i.NodeAgents, account)
	}
	add(f.domains(mesh, i))
	i.Policy = issue.Policy{TTL: f.ttl, MinTTL: f.ttlMin, MaxTTL: f.ttlMax}
	if f.ttlMin < time.Second || f.ttlMin > f.ttl || f.ttl > f.ttlMax {
		add(fmt.Errorf("--svid-ttl-min=%s, --svid-ttl=%s, --svid-ttl-max=%s: they must be a second or more, and none above the next", f.ttlMin, f.ttl, f.ttlMax))
	}
	if i.ClockSkew = f.skew; f.skew <= 0 {
		add(fmt.Errorf("--clock-skew=%s: use a duration above 0, such as 5m", f.skew))
	}
	if len(i.Audiences) == 0 {
		i.Audiences = []string{defaultAudience}
		if slices.Contains(serve.compat, "istio") {
			i.Audiences = append(i.Audiences, istioAudience)
		}
	}
	if len(i.DNS) == 0 {
		base := "fairlead." + i.Account.Namespace + ".svc"
		i.DNS = []string{base, base + "." + mesh.ClusterDomain}
	}
	add(f.outside(i, serve, cfg))
	i.Federation, err = f.federation(cfg)
	add(err)
	return i, errors.Join(errs...)
}

// domains checks the names of the trust domain.
func (f *identityFlags) domains(mesh *resolve.Config, i *server.Identity) error {
	td, err := spiffeid.TrustDomainFromString(mesh.TrustDomain)
	if err != nil {
		return fmt.Errorf("--trust-domain=%s: %w", mesh.TrustDomain, err)
	}
	if _, err := ca.WorkloadID(td, i.Account.Namespace, i.Account.Name); err != nil {
		return fmt.Errorf("--service-account=%s: %w", f.account, err)
	}
	for _, a := range f.aliases {
		alias, err := spiffeid.TrustDomainFromString(a)
		if err != nil {
			return fmt.Errorf("--trust-domain-alias=%s: %w", a, err)
		}
		i.Aliases = append(i.Aliases, alias)
	}
	return nil
}

// outside makes what reaches beyond the process: the store, the API server, the files.
func (f *identityFlags) outside(i *server.Identity, serve *serveFlags, cfg *server.Config) error {
	var client kubernetes.Interface
	if cfg.Conditions != nil {
		c := rest.CopyConfig(cfg.Conditions.REST)
		c.QPS = -1 // reviews of tokens have a bound, a cache and one call for many of their own
		k, err := kubernetes.NewForConfig(c)
		if err != nil {
			return fmt.Errorf("make client of the API server: %w", err)
		}
		client = k
		i.Review, i.Rights = k.AuthenticationV1().TokenReviews(), k.AuthorizationV1().SubjectAccessReviews()
		i.Roster = roster.NewConfigMap(k, i.Account.Namespace, rosterMap)
		if serve.leaseNamespace != "" {
			i.Election = &server.Election{Client: k, Namespace: serve.leaseNamespace, Name: authorityLease, Identity: cfg.Conditions.Lease.Identity}
		}
	}
	var err error
	if f.ca != "" {
		if i.Store, err = f.store(i, client, cfg); err != nil {
			return err
		}
	}
	if i.Keys, err = f.tokenKeys(client); err != nil {
		return err
	}
	i.Publish, err = f.publisher(i, client)
	return err
}

// store is where the authority is kept.
func (f *identityFlags) store(i *server.Identity, client kubernetes.Interface, cfg *server.Config) (authority.Store, error) {
	kind, where, _ := strings.Cut(f.ca, ":")
	switch kind {
	case "secret":
		namespace, name := i.Account.Namespace, caSecret
		if where != "" {
			var ok bool
			if namespace, name, ok = strings.Cut(where, "/"); !ok || namespace == "" || name == "" {
				return nil, fmt.Errorf("--ca=%s: write secret:NAMESPACE/NAME", f.ca)
			}
		}
		if client == nil {
			return nil, fmt.Errorf("--ca=%s: a Secret needs a cluster (--source=kube); a folder of manifests goes with --ca=folder:DIR", f.ca)
		}
		return store.NewSecret(client, namespace, name).WithLog(cfg.Log), nil
	case "folder":
		if where == "" {
			return nil, fmt.Errorf("--ca=%s: write folder:DIR", f.ca)
		}
		return f.folder(i, where), nil
	case "mounted":
		return f.mounted(i, where, client, cfg)
	}
	return nil, fmt.Errorf("--ca=%s: use secret[:NAMESPACE/NAME], mounted:DIR or folder:DIR", f.ca)
}

// folder keeps the authority, and which nodes there are unless a cluster does.
func (f *identityFlags) folder(i *server.Identity, dir string) authority.Store {
	if i.Roster == nil {
		i.Roster = roster.NewFile(filepath.Join(dir, rosterFile))
	}
	return store.NewFolder(dir)
}

// mounted reads an authority. What is trusted and where a rotation stands is not in its files, and all replicas must agree on it.
func (f *identityFlags) mounted(i *server.Identity, where string, client kubernetes.Interface, cfg *server.Config) (authority.Store, error) {
	dir, own, _ := strings.Cut(where, ",")
	if info, err := os.Stat(dir); dir == "" || err != nil || !info.IsDir() {
		return nil, fmt.Errorf("--ca=%s: there is no such folder; mount one, and write mounted:DIR", f.ca)
	}
	var beneath authority.Store
	switch {
	case client != nil && own != "":
		return nil, fmt.Errorf("--ca=%s: with a cluster the state is in the Secret %s: write mounted:%s", f.ca, caSecret, dir)
	case client != nil:
		beneath = store.NewSecret(client, i.Account.Namespace, caSecret).WithLog(cfg.Log)
	case own != "":
		beneath = f.folder(i, own)
	default:
		beneath = store.NewMemory()
		cfg.Log.Warn("what is trusted, and which nodes there are, is kept in memory: a restart forgets a rotation that is under way, " +
			"and the next one waits for an hour from the start; write --ca=mounted:DIR,STATE with a folder that is kept")
	}
	return store.NewMounted(dir, beneath, store.MountedConfig{Log: cfg.Log}), nil
}

func (f *identityFlags) tokenKeys(client kubernetes.Interface) (authn.KeySource, error) {
	switch kind, where, _ := strings.Cut(f.keys, ":"); {
	case f.keys == "" && client != nil, f.keys == "cluster" && client != nil:
		return authn.KeysOfCluster(client.Discovery().RESTClient()), nil
	case f.keys == "", f.keys == "none":
		return nil, nil
	case f.keys == "cluster":
		return nil, errors.New("--token-keys=cluster: there is no cluster; use --source=kube, or file:JWKS,ISSUER")
	case kind == "file":
		path, issuer, ok := strings.Cut(where, ",")
		if _, err := os.Stat(path); !ok || issuer == "" || err != nil {
			return nil, fmt.Errorf("--token-keys=%s: write file:JWKS,ISSUER, with a file that is there", f.keys)
		}
		return authn.KeysOfFile(path, issuer), nil
	}
	return nil, fmt.Errorf("--token-keys=%s: use cluster, none or file:JWKS,ISSUER", f.keys)
}

// serviceAccount reads NAMESPACE/NAME.
func serviceAccount(flag, s string) (authn.ServiceAccount, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return authn.ServiceAccount{}, fmt.Errorf("%s=%s: write NAMESPACE/NAME", flag, s)
	}
	return authn.ServiceAccount{Namespace: namespace, Name: name}, nil
}

func wrapFlag(flag string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}
