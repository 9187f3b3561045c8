package store

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// layout is how the files of an authority are named.
type layout struct {
	issuer, key, chain, roots string
}

// The layouts, the first that is there counts: that of Istio's Secret "cacerts", and that of a Secret of type
// kubernetes.io/tls as cert-manager writes it, where the intermediates follow the certificate in its own file.
func layouts() []layout {
	return []layout{
		{issuer: "ca-cert.pem", key: "ca-key.pem", chain: "cert-chain.pem", roots: "root-cert.pem"},
		{issuer: "tls.crt", key: "tls.key", roots: "ca.crt"},
	}
}

// readMounted reads the authority of a folder. An error names the file that is wrong.
func readMounted(dir string, now time.Time) (authority.Generation, error) {
	for attempt := 0; ; attempt++ {
		// Kubernetes swaps all files of a mount at once, by the symlink ..data: behind it they are of one set.
		set := dir
		if at, err := filepath.EvalSymlinks(filepath.Join(dir, "..data")); err == nil {
			set = at
		}
		g, err := readSet(dir, set, now)
		if errors.Is(err, fs.ErrNotExist) && set != dir && attempt < 3 {
			continue // the set was swapped and removed meanwhile
		}
		return g, err
	}
}

func readSet(dir, set string, now time.Time) (authority.Generation, error) {
	for _, l := range layouts() {
		if _, err := os.Stat(filepath.Join(set, l.issuer)); err == nil {
			return l.read(dir, set, now)
		}
	}
	return authority.Generation{}, fmt.Errorf("%s has neither ca-cert.pem (with ca-key.pem, cert-chain.pem, root-cert.pem) nor tls.crt (with tls.key, ca.crt): %w",
		dir, fs.ErrNotExist)
}

func (l layout) read(dir, set string, now time.Time) (authority.Generation, error) {
	at := func(name string, err error) error { return fmt.Errorf("%s: %w", filepath.Join(dir, name), err) }
	issuers, err := readCertificates(set, l.issuer)
	if err != nil {
		return authority.Generation{}, at(l.issuer, err)
	}
	if len(issuers) == 0 {
		return authority.Generation{}, at(l.issuer, errors.New("no certificate"))
	}
	issuer, above := issuers[0], issuers[1:]
	if err := checkIssuer(issuer, now); err != nil {
		return authority.Generation{}, at(l.issuer, err)
	}
	b, err := os.ReadFile(filepath.Join(set, l.key))
	if err != nil {
		return authority.Generation{}, at(l.key, err)
	}
	key, err := decodeKey(b)
	if err != nil {
		return authority.Generation{}, at(l.key, err)
	}
	if pub, ok := issuer.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return authority.Generation{}, at(l.key, errors.New("it is not the key of "+l.issuer))
	}
	if l.chain != "" {
		chain, err := readCertificates(set, l.chain)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return authority.Generation{}, at(l.chain, err)
		}
		above = append(above, chain...)
	}
	roots, err := readCertificates(set, l.roots)
	if err != nil {
		return authority.Generation{}, at(l.roots, err)
	}
	if len(roots) == 0 {
		return authority.Generation{}, at(l.roots, errors.New("no certificate"))
	}
	for i, r := range roots {
		if !r.IsCA || !r.BasicConstraintsValid {
			return authority.Generation{}, at(l.roots, fmt.Errorf("certificate %d (%s) is no CA", i+1, r.Subject))
		}
	}
	g := authority.Generation{
		ID: authority.GenerationID(issuer), Issuer: issuer, Chain: intermediates(issuer, above, roots), Roots: unique(roots),
		Key: key, Source: authority.Mounted, Created: now.UTC().Truncate(time.Second),
	}
	if err := g.Check(); err != nil {
		return authority.Generation{}, at(l.roots, err)
	}
	return g, nil
}

func readCertificates(set, name string) ([]*x509.Certificate, error) {
	b, err := os.ReadFile(filepath.Join(set, name))
	if err != nil {
		return nil, err
	}
	return decodeCertificates(b)
}

func checkIssuer(c *x509.Certificate, now time.Time) error {
	switch {
	case !c.IsCA || !c.BasicConstraintsValid:
		return errors.New("its first certificate is no CA (basicConstraints cA)")
	case c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("its first certificate may not sign certificates (keyUsage keyCertSign)")
	case now.Before(c.NotBefore):
		return fmt.Errorf("its first certificate begins %s", c.NotBefore.UTC().Format(time.RFC3339))
	case !now.Before(c.NotAfter):
		return fmt.Errorf("its first certificate has ended %s", c.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// intermediates are what stands between the issuer and the roots: files often repeat both ends.
func intermediates(issuer *x509.Certificate, above, roots []*x509.Certificate) []*x509.Certificate {
	return unique(slices.DeleteFunc(slices.Clone(above), func(c *x509.Certificate) bool {
		return c.Equal(issuer) || slices.ContainsFunc(roots, c.Equal) || string(c.RawSubject) == string(c.RawIssuer)
	}))
}

func unique(list []*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range list {
		if !slices.ContainsFunc(out, c.Equal) {
			out = append(out, c)
		}
	}
	return out
}

func sameCertificates(a, b []*x509.Certificate) bool {
	return slices.EqualFunc(a, b, (*x509.Certificate).Equal)
}
