package main

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/ledger"
	"fairlead.io/fairlead/pkg/svid"
)

func certCommand(env environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Get a certificate; see what one says, and who holds which",
		Example: "  fairlead cert request 127.0.0.1:15012 --token token --trust-bundle roots.pem --out web/\n" +
			"  fairlead cert inspect web/svid.pem --roots roots.pem\n" +
			"  fairlead cert list --expiring 1h",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(certRequestCommand(env), certInspectCommand(env), certListCommand())
	return cmd
}

// certificate is what inspect says of one chain.
type certificate struct {
	Identity string   `json:"identity,omitempty"`
	DNSNames []string `json:"dnsNames,omitempty"`
	Serial   string   `json:"serial"`
	// Authority is the generation that signed it: of the issuer's certificate, where the file or --roots has it.
	Authority string    `json:"authority,omitempty"`
	Issuer    string    `json:"issuerKeyId,omitempty"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	Expired   bool      `json:"expired"`
	Verified  bool      `json:"verified"` // to a root
	Findings  []finding `json:"findings"`
}

type finding struct {
	Level   string `json:"level"`
	Rule    string `json:"rule"`
	Message string `json:"message"`
}

func certInspectCommand(env environment) *cobra.Command {
	var out output
	var roots string
	cmd := &cobra.Command{
		Use:   "inspect FILE|-",
		Short: "Say what a certificate is, and in what it breaks the SPIFFE specification",
		Long: "Reads a chain in PEM, leaf first, or a Secret of Kubernetes as YAML or JSON (tls.crt or cert-chain.pem, with ca.crt or\n" +
			"root-cert.pem), and prints whose it is, its age, its end, the generation of the authority that signed it, and every rule\n" +
			"of the X.509-SVID specification that it breaks. Private keys in the input are passed over. Without a root, in the input\n" +
			"or by --roots, the path is not verified. Fails when it has ended, cannot be verified, or breaks a rule that is a MUST.",
		Example: "  fairlead cert inspect chain.pem --roots root.pem\n" +
			"  kubectl get secret web-tls -o yaml | fairlead cert inspect -",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&roots, "roots", "", "file of roots in PEM to verify with")
	out.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		chain, trusted, err := readChain(env, args[0])
		if err != nil {
			return err
		}
		if roots != "" {
			more, err := readRoots(env, roots)
			if err != nil {
				return err
			}
			trusted = append(trusted, more...)
		}
		c := inspect(chain, trusted, time.Now())
		if err := out.print(cmd.OutOrStdout(), c, c.print); err != nil {
			return err
		}
		if c.bad() {
			return errSilent
		}
		return nil
	}
	return cmd
}

// maxFile bounds what inspect reads, in bytes.
const maxFile = 4 << 20

func readFile(env environment, name string) ([]byte, error) {
	in := env.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return data, nil
}

// readChain gives the chain of a file, leaf first, and the roots in it: certificates of authorities that signed themselves.
func readChain(env environment, name string) (chain, roots []*x509.Certificate, err error) {
	data, err := readFile(env, name)
	if err != nil {
		return nil, nil, err
	}
	all, err := parseCertificates(fromSecret(data))
	if err != nil {
		return nil, nil, fmt.Errorf("read certificate %s: %w", name, err)
	}
	for _, c := range all {
		if c.IsCA && bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil {
			roots = append(roots, c)
		} else {
			chain = append(chain, c)
		}
	}
	if len(chain) == 0 {
		chain = roots[:1] // a root alone is what is asked about
	}
	return chain, roots, nil
}

func readRoots(env environment, name string) ([]*x509.Certificate, error) {
	data, err := readFile(env, name)
	if err != nil {
		return nil, err
	}
	roots, err := parseCertificates(fromSecret(data))
	if err != nil {
		return nil, fmt.Errorf("read roots %s: %w", name, err)
	}
	return roots, nil
}

// fromSecret gives the PEM of a Secret, or the data as it is when it is none.
func fromSecret(data []byte) []byte {
	var secret struct {
		Data map[string][]byte `json:"data"`
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----")) || yaml.Unmarshal(data, &secret) != nil || len(secret.Data) == 0 {
		return data
	}
	var out []byte
	for _, key := range []string{"tls.crt", "cert-chain.pem", "ca-cert.pem", "ca.crt", "root-cert.pem"} {
		if text := secret.Data[key]; len(text) > 0 {
			out = append(append(out, text...), '\n')
		}
	}
	return out
}

func parseCertificates(text []byte) (out []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue // a key, for example
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no certificate in PEM in it")
	}
	return out, nil
}

func inspect(chain, roots []*x509.Certificate, now time.Time) certificate {
	leaf := chain[0]
	c := certificate{
		DNSNames: leaf.DNSNames, Serial: leaf.SerialNumber.Text(16), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		Issuer: hex.EncodeToString(leaf.AuthorityKeyId), Expired: now.After(leaf.NotAfter), Verified: len(roots) > 0, Findings: []finding{},
	}
	if id, err := svid.ID(leaf); err == nil {
		c.Identity = id.String()
	}
	for _, issuer := range append(chain[1:len(chain):len(chain)], roots...) {
		if leaf.CheckSignatureFrom(issuer) == nil {
			c.Authority = authority.GenerationID(issuer)
			break
		}
	}
	for _, f := range svid.Check(chain, roots, now) {
		if f.ID == "path" {
			if len(roots) == 0 {
				continue // there is nothing to verify it with
			}
			c.Verified = false
		}
		c.Findings = append(c.Findings, finding{string(f.Level), f.ID, f.String()})
	}
	return c
}

// bad tells whether somebody who relies on the certificate must refuse it.
func (c certificate) bad() bool {
	for _, f := range c.Findings {
		if strings.HasPrefix(f.Level, "MUST") {
			return true
		}
	}
	return c.Expired
}

func (c certificate) print(w io.Writer) error {
	now := time.Now()
	ends := "in " + age(c.NotAfter.Sub(now))
	if c.Expired {
		ends = "EXPIRED " + age(now.Sub(c.NotAfter)) + " ago"
	}
	verified := "to a root"
	switch {
	case !c.Verified && c.rule("path"):
		verified = "FAILED"
	case !c.Verified:
		verified = "no root to verify with: use --roots"
	}
	rows := [][]string{
		{"identity", or(c.Identity, "none")},
		{"dns names", or(strings.Join(c.DNSNames, " "), "none")},
		{"age", age(now.Sub(c.NotBefore))},
		{"expires", c.NotAfter.UTC().Format(time.RFC3339) + " (" + ends + ")"},
		{"authority", or(c.Authority, "unknown: the certificate of the issuer is not in the file") + " (key " + or(c.Issuer, "not named") + ")"},
		{"verified", verified},
		{"serial", c.Serial},
	}
	if err := columns(w, rows[0], rows[1:]); err != nil {
		return err
	}
	for _, f := range c.Findings {
		fmt.Fprintln(w, f.Message)
	}
	return nil
}

func (c certificate) rule(id string) bool {
	for _, f := range c.Findings {
		if f.Rule == id {
			return true
		}
	}
	return false
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func certListCommand() *cobra.Command {
	var out output
	var identity string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the valid certificates that a server has signed",
		Long: "Lists who holds which certificate: what the server that is asked has signed since it started and what is still valid.\n" +
			"Each replica knows its own; ask all of them for the whole.",
		Example: "  fairlead cert list\n" +
			"  fairlead cert list --identity spiffe://cluster.local/ns/shop/sa/web -o json",
		Args: cobra.NoArgs,
	}
	address := serverFlag(cmd)
	cmd.Flags().StringVar(&identity, "identity", "", "only those of this SPIFFE ID")
	out.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(*address)
		if err != nil {
			return err
		}
		path := "/api/certificates"
		if identity != "" {
			path += "?identity=" + url.QueryEscape(identity)
		}
		raw, err := client.Raw(cmd.Context(), path)
		if err != nil {
			return err
		}
		var page ledger.Page
		if err := json.Unmarshal(raw, &page); err != nil {
			return fmt.Errorf("read certificates: %w", err)
		}
		return out.print(cmd.OutOrStdout(), page, func(w io.Writer) error { return printLedger(w, page.Certificates, time.Now()) })
	}
	return cmd
}

func printLedger(w io.Writer, list []ledger.Entry, now time.Time) error {
	rows := make([][]string, len(list))
	for i, e := range list {
		rows[i] = []string{e.Identity, or(e.Pod, "-"), or(e.Node, "-"), age(now.Sub(e.NotBefore)), age(e.NotAfter.Sub(now)), e.Authority, e.Serial}
	}
	return columns(w, []string{"IDENTITY", "POD", "NODE", "AGE", "EXPIRES IN", "AUTHORITY", "SERIAL"}, rows)
}
