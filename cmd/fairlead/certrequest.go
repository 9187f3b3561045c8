package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/control"
	"fairlead.io/fairlead/pkg/node/keeper"
)

// The files of an X.509-SVID in a folder, by the names that spiffe-helper gives them.
const (
	svidFile = "svid.pem"
	keyFile  = "svid_key.pem"
)

// certRequest is what cert request is told.
type certRequest struct {
	address, serverID, trustBundle, trustHash string
	token, svid, dir                          string
	ttl                                       time.Duration
}

func certRequestCommand(env environment) *cobra.Command {
	var out output
	var r certRequest
	cmd := &cobra.Command{
		Use:   "request HOST:PORT",
		Short: "Have the server sign a certificate for the caller",
		Long: "Makes a key, has the certificate authority at the TLS port of a server sign an X.509-SVID for it, and writes both into\n" +
			"a folder: " + svidFile + " and " + keyFile + " (PKCS #8). Whom the certificate is for is decided by the credential: a pod by the token\n" +
			"of its ServiceAccount that is bound to it (--token), or who holds a certificate that is still valid (--svid, a folder of\n" +
			"this command: a renewal). What was signed is verified, and shown as by cert inspect.",
		Example: "  kubectl -n shop create token web --audience fairlead --bound-object-kind Pod --bound-object-name web-1 > token\n" +
			"  fairlead cert request 127.0.0.1:15012 --token token --trust-bundle roots.pem --out web/\n" +
			"  fairlead cert request 127.0.0.1:15012 --svid web/ --trust-bundle roots.pem --out web/",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&r.token, "token", "", "file with a ServiceAccount token that is bound to a pod")
	f.StringVar(&r.svid, "svid", "", "folder with the certificate and the key to renew")
	f.StringVar(&r.dir, "out", "", "folder to write into (required)")
	f.StringVar(&r.trustBundle, "trust-bundle", "", "file of roots in PEM that verify the server")
	f.StringVar(&r.trustHash, "trust-hash", "", "instead: sha256:HEX of one root certificate's DER, which the server shows in its chain")
	f.StringVar(&r.serverID, "server-id", "spiffe://cluster.local/ns/fairlead-system/sa/fairlead", "the SPIFFE ID that the server must prove")
	f.DurationVar(&r.ttl, "ttl", 0, "how long it should be valid; capped by the server, whose default it is when unset")
	out.add(cmd)
	cmd.MarkFlagsOneRequired("token", "svid")
	cmd.MarkFlagsMutuallyExclusive("token", "svid")
	cmd.MarkFlagsOneRequired("trust-bundle", "trust-hash")
	_ = cmd.MarkFlagRequired("out") // there is such a flag
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.address = args[0]
		got, err := r.sign(cmd.Context())
		if err != nil {
			return err
		}
		var roots []*x509.Certificate
		if r.trustBundle != "" {
			if roots, err = readRoots(env, r.trustBundle); err != nil {
				return err
			}
		}
		c := inspect(got.Chain, roots, time.Now())
		if c.bad() {
			return fmt.Errorf("the server gave a certificate that is of no use: %s", c.Findings[0].Message)
		}
		if err := r.write(got); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), c, c.print)
	}
	return cmd
}

// link leads to the server, with the token or the certificate.
func (r *certRequest) link() (*control.Link, error) {
	id, err := spiffeid.FromString(r.serverID)
	if err != nil {
		return nil, fmt.Errorf("--server-id: %w", err)
	}
	trust, err := control.NewTrust(r.trustBundle, r.trustHash)
	if err != nil {
		return nil, err
	}
	var held *node.SVID
	if r.svid != "" {
		s, err := x509svid.Load(filepath.Join(r.svid, svidFile), filepath.Join(r.svid, keyFile))
		if err != nil {
			return nil, fmt.Errorf("read the certificate to renew: %w", err)
		}
		if end := s.Certificates[0].NotAfter; time.Now().After(end) {
			return nil, fmt.Errorf("read the certificate to renew: it has ended at %s; ask with --token", end.Format(time.RFC3339))
		}
		held = &node.SVID{ID: s.ID, Chain: s.Certificates, Key: s.PrivateKey}
	}
	return control.NewLink(control.LinkConfig{
		Servers: []string{r.address}, ServerID: id, Trust: trust, Token: r.token, SVID: func() *node.SVID { return held },
	}), nil
}

// sign makes a key and has a certificate signed for it.
func (r *certRequest) sign(ctx context.Context) (*node.SVID, error) {
	link, err := r.link()
	if err != nil {
		return nil, err
	}
	defer link.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	results, err := control.NewCA(link).SignX509(ctx, []keeper.Request{{CSR: csr, TTL: r.ttl}})
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || results[0].Err == nil && len(results[0].Chain) == 0 {
		return nil, fmt.Errorf("sign certificates: the server at %s gave no answer that fits one request", r.address)
	}
	res := results[0]
	if res.Err != nil {
		return nil, fmt.Errorf("the certificate is refused, the log of the server says why: %w", res.Err)
	}
	if leaf, ok := res.Chain[0].PublicKey.(*ecdsa.PublicKey); !ok || !leaf.Equal(key.Public()) {
		return nil, fmt.Errorf("sign certificates: the server at %s signed another key", r.address)
	}
	return &node.SVID{ID: res.ID, Chain: res.Chain, Key: key, Authority: res.Authority}, nil
}

// write replaces the key before the certificate, each as a whole.
func (r *certRequest) write(got *node.SVID) error {
	s := x509svid.SVID{ID: got.ID, Certificates: got.Chain, PrivateKey: got.Key}
	chain, key, err := s.Marshal()
	if err != nil {
		return fmt.Errorf("encode the certificate: %w", err)
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("write the certificate: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{keyFile, key}, {svidFile, chain}} {
		path := filepath.Join(r.dir, f.name)
		if err := os.WriteFile(path+".new", f.data, 0o600); err != nil {
			return fmt.Errorf("write the certificate: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("write the certificate: %w", err)
		}
	}
	return nil
}
