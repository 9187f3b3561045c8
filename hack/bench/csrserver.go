package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/process"
)

const (
	istiodName   = "istiod.istio-system.svc"
	fairleadName = "spiffe://" + csrTrustDomain + "/ns/fairlead-system/sa/fairlead"
)

// csrMemory is what Fairlead sets itself in a container of 600 MiB.
const csrMemory = "GOMEMLIMIT=480MiB"

// startFairleadCA starts Fairlead with its TLS port, and its authority in the folder ca. It logs as it does unless told otherwise:
// an audit record of each certificate.
func startFairleadCA(dir, ca, binary, kubeconfig string) (*server, error) {
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	s := &server{name: "fairlead", tls: addresses[0], admin: "http://" + addresses[1], ready: "/readyz"}
	s.process, err = process.Start(s.name, dir, "/usr/bin/env", csrMemory, binary, "serve", "--source=kube", "--kubeconfig="+kubeconfig, "--compat=istio",
		"--tls-address="+s.tls, "--ca=folder:"+ca, "--admin="+addresses[1])
	return s, err
}

// fairleadAuthority is how Fairlead's authority is trusted: by the roots in its folder.
func fairleadAuthority(ctx context.Context, s *server, ca string) (authorityAt, error) {
	state, _, err := store.NewFolder(ca).Load(ctx)
	if err != nil {
		return authorityAt{}, err
	}
	roots := x509.NewCertPool()
	for _, g := range state.Generations {
		for _, c := range g.Roots {
			roots.AddCert(c)
		}
	}
	return authorityAt{s.tls, roots, fairleadName}, nil
}

// istiodRoots are those of the authority that istiod has made for itself.
func (b *csrBench) istiodRoots(ctx context.Context) (*x509.CertPool, error) {
	secret, err := b.world.client.CoreV1().Secrets("istio-system").Get(ctx, "istio-ca-secret", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["ca-cert.pem"]) {
		return nil, errors.New("istio-ca-secret has no certificate")
	}
	return roots, nil
}

// mountECDSA writes an ECDSA authority where istiod looks for the Secret cacerts.
func mountECDSA(dir string) (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{csrTrustDomain}, CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	files := map[string][]byte{
		"ca-cert.pem": cert, "cert-chain.pem": cert, "root-cert.pem": cert,
		"ca-key.pem": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return roots, nil
}

// startIstiodCA starts istiod as it comes, or with no limit of its API client and an ECDSA issuer, whose roots are given then.
func startIstiodCA(dir, binary, kubeconfig string, tuned bool) (s *server, roots *x509.CertPool, err error) {
	var args []string
	if tuned {
		// The folder etc/cacerts below the working directory is where istiod looks first.
		if roots, err = mountECDSA(filepath.Join(dir, "etc", "cacerts")); err != nil {
			return nil, nil, err
		}
		args = []string{"--kubernetesApiQPS=1000000", "--kubernetesApiBurst=1000000"}
	}
	s, err = startIstiod(dir, binary, kubeconfig, args...)
	return s, roots, err
}

// childProcess is the process of that name that this one has started and that runs now.
func childProcess(name string) (int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// proc(5): pid (comm) state ppid …; comm has at most 15 bytes.
		pid, rest, _ := strings.Cut(string(data), " (")
		end := strings.LastIndex(rest, ") ")
		if end < 0 {
			continue
		}
		fields := strings.Fields(rest[end+2:])
		if strings.HasPrefix(rest[:end], name[:min(len(name), 15)]) && len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			return strconv.Atoi(pid)
		}
	}
	return 0, fmt.Errorf("no child process %s", name)
}
