package store_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
)

type files map[string][]byte

// cacerts is Istio's layout.
func cacerts(t testing.TB, issuer *pki, chain, roots []*pki) files {
	return files{
		"ca-cert.pem": certs(issuer), "ca-key.pem": issuer.pem(t),
		"cert-chain.pem": certs(append([]*pki{issuer}, chain...)...), "root-cert.pem": certs(roots...),
	}
}

// mount writes a set as a kubelet does: a folder of its own, to which the symlink ..data is swapped.
func mount(t testing.TB, dir string, set files) {
	t.Helper()
	data, err := os.MkdirTemp(dir, "..2026_")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range set {
		if err := os.WriteFile(filepath.Join(data, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	tmp := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(data), tmp); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if old != "" {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs an authority until the end of the test.
func run(t *testing.T, s authority.Store) *authority.Authority {
	t.Helper()
	a := authority.New(authority.Config{TrustDomain: td, Store: s})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return a
}

// signs gives the authority of a new SVID, which must verify with the bundle of an authority.
func signs(a, by *authority.Authority) (string, error) {
	svid, err := a.SignX509(authority.X509Template{ID: spiffeid.RequireFromPath(td, "/ns/a/sa/b"), PublicKey: leafKey, TTL: time.Hour})
	if err != nil {
		return "", err
	}
	_, _, err = x509svid.Verify(svid.Chain, by.Bundle())
	return svid.Authority, err
}

func TestMountedLayouts(t *testing.T) {
	root, policy := newCA(t, "root", nil), (*pki)(nil)
	policy = newCA(t, "policy", root)
	inter := newCA(t, "intermediate", policy)
	for name, set := range map[string]files{
		"cacerts":                       cacerts(t, inter, []*pki{policy}, []*pki{root}),
		"cacerts, root in the chain":    cacerts(t, inter, []*pki{policy, root}, []*pki{root}),
		"cacerts, several roots":        cacerts(t, inter, []*pki{policy}, []*pki{newCA(t, "other", nil), root}),
		"cacerts, a root signs":         cacerts(t, root, nil, []*pki{root}),
		"cert-manager":                  {"tls.crt": certs(inter, policy), "tls.key": inter.pem(t), "ca.crt": certs(root)},
		"cert-manager, self-signed":     {"tls.crt": certs(root), "tls.key": root.pem(t), "ca.crt": certs(root)},
		"cacerts before cert-manager's": merge(cacerts(t, inter, []*pki{policy}, []*pki{root}), files{"tls.crt": nil}),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mount(t, dir, set)
			a := run(t, store.NewMounted(dir, store.NewMemory(), store.MountedConfig{}))
			<-a.Ready()
			if _, err := signs(a, a); err != nil {
				t.Error(err)
			}
		})
	}
}

func merge(a, b files) files {
	for k, v := range b {
		a[k] = v
	}
	return a
}

func TestMountedRefusesABrokenSet(t *testing.T) {
	root, other := newCA(t, "root", nil), newCA(t, "other", nil)
	inter := newCA(t, "intermediate", root)
	ended := newCA(t, "ended", root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := newCA(t, "early", root, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	leaf := newCA(t, "leaf", root, func(c *x509.Certificate) { c.IsCA = false })
	idle := newCA(t, "idle", root, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	good := func() files { return cacerts(t, inter, nil, []*pki{root}) }
	for name, c := range map[string]struct {
		set  files
		want string
	}{
		"nothing":           {files{"x": nil}, "has neither ca-cert.pem"},
		"another key":       {merge(good(), files{"ca-key.pem": other.pem(t)}), "ca-key.pem: it is not the key of ca-cert.pem"},
		"no key":            {merge(good(), files{"ca-key.pem": nil}), "ca-key.pem: no PEM"},
		"an encrypted key":  {merge(good(), files{"ca-key.pem": []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----\n")}), "must be decrypted"},
		"another root":      {merge(good(), files{"root-cert.pem": certs(other)}), "root-cert.pem: generation"},
		"no root":           {merge(good(), files{"root-cert.pem": nil}), "root-cert.pem: no certificate"},
		"a root is no CA":   {merge(good(), files{"root-cert.pem": certs(root, leaf)}), "root-cert.pem: certificate 2"},
		"half a root":       {merge(good(), files{"root-cert.pem": certs(root)[:300]}), "root-cert.pem: broken PEM"},
		"half a chain":      {merge(good(), files{"cert-chain.pem": certs(root)[:300]}), "cert-chain.pem: broken PEM"},
		"no issuer":         {merge(good(), files{"ca-cert.pem": nil}), "ca-cert.pem: no certificate"},
		"an ended issuer":   {cacerts(t, ended, nil, []*pki{root}), "ca-cert.pem: its first certificate has ended"},
		"an issuer to come": {cacerts(t, early, nil, []*pki{root}), "ca-cert.pem: its first certificate begins"},
		"no CA":             {cacerts(t, leaf, nil, []*pki{root}), "no CA"},
		"may not sign":      {cacerts(t, idle, nil, []*pki{root}), "keyCertSign"},
	} {
		dir := t.TempDir()
		mount(t, dir, c.set)
		m := store.NewMounted(dir, store.NewMemory(), store.MountedConfig{})
		if _, _, err := m.Offered(); err == nil || !strings.Contains(err.Error(), c.want) || m.Err() == nil {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A new intermediate of the same root signs at once, at every replica that has it; no key of it is kept beneath.
func TestMountedIntermediateIsReplaced(t *testing.T) {
	root := newCA(t, "root", nil)
	one, two := newCA(t, "one", root), newCA(t, "two", root)
	beneath, dirA, dirB := store.NewMemory(), t.TempDir(), t.TempDir()
	set := func(i *pki) files { return cacerts(t, i, nil, []*pki{root}) }
	mount(t, dirA, set(one))
	mount(t, dirB, set(one))
	mounted := store.NewMounted(dirA, beneath, store.MountedConfig{})
	a, b := run(t, mounted), run(t, store.NewMounted(dirB, beneath, store.MountedConfig{}))
	<-a.Ready()
	<-b.Ready()

	mount(t, dirA, set(two))
	eventually(t, func() error {
		id, err := signs(a, b)
		if err == nil && id != two.id() {
			err = fmt.Errorf("%s signs", id)
		}
		return err
	})
	// The other replica has not got the new files: it says so, and does not sign with what it has.
	eventually(t, func() error {
		if _, err := signs(b, a); !errors.Is(err, authority.ErrNoKey) {
			return fmt.Errorf("a replica without the key: %v", err)
		}
		return nil
	})
	mount(t, dirB, set(two))
	eventually(t, func() error { _, err := signs(b, a); return err })
	if s := b.State(); s.Signing != two.id() || s.Rotation.Stage != authority.Stable {
		t.Errorf("the other replica has turned back: %v", s)
	}

	kept, _, err := beneath.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range kept.Generations {
		if g.Key != nil {
			t.Errorf("the key of %v is kept beneath", g)
		}
	}

	broken := set(two)
	broken["ca-key.pem"] = nil
	mount(t, dirA, broken)
	eventually(t, func() error {
		if mounted.Err() == nil {
			return errors.New("a broken set is no error")
		}
		return nil
	})
	if id, err := signs(a, b); err != nil || id != two.id() {
		t.Errorf("with a broken set signs %s, %v", id, err)
	}
}

// Another root is trusted, and does not sign: a rotation decides when.
func TestMountedRootWaits(t *testing.T) {
	one, two := newCA(t, "one", nil), newCA(t, "two", nil)
	dir := t.TempDir()
	mount(t, dir, cacerts(t, one, nil, []*pki{one}))
	a := run(t, store.NewMounted(dir, store.NewMemory(), store.MountedConfig{}))
	<-a.Ready()
	before := a.State().Sequence
	mount(t, dir, cacerts(t, two, nil, []*pki{two}))
	eventually(t, func() error {
		if !a.Bundle().HasX509Authority(two.cert) || !a.Bundle().HasX509Authority(one.cert) {
			return fmt.Errorf("trusted are %v", a.State().Generations)
		}
		return nil
	})
	if id, err := signs(a, a); err != nil || id != one.id() {
		t.Errorf("signs %s, %v", id, err)
	}
	if s := a.State(); s.Sequence <= before {
		t.Errorf("sequence %d after %d", s.Sequence, before)
	}
	// A rotation has the new one sign, with the key that is mounted.
	if _, err := a.Update(t.Context(), func(s authority.State) (authority.State, error) {
		s.Signing = two.id()
		return s, nil
	}); err != nil {
		t.Fatal(err)
	}
	if id, err := signs(a, a); err != nil || id != two.id() {
		t.Errorf("signs %s, %v", id, err)
	}
}

// Whoever has no files yet waits for them, and makes no authority of his own.
func TestMountedWaitsForFiles(t *testing.T) {
	dir := t.TempDir()
	a := run(t, store.NewMounted(dir, store.NewMemory(), store.MountedConfig{}))
	if _, err := signs(a, a); !errors.Is(err, authority.ErrNone) {
		t.Errorf("without files: %v", err)
	}
	root := newCA(t, "root", nil)
	mount(t, dir, cacerts(t, root, nil, []*pki{root}))
	<-a.Ready()
	if id, err := signs(a, a); err != nil || id != root.id() {
		t.Errorf("signs %s, %v", id, err)
	}
}
