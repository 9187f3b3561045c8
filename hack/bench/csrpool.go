package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// csr is a certificate signing request of a key that no other one has.
type csr struct {
	der []byte
	pem string // as Istio's API wants it
	key *ecdsa.PublicKey
}

// newCSRs makes n of them, before any clock starts: a key and a signature cost a client about what they cost a server.
func newCSRs(ctx context.Context, n int) ([]csr, error) {
	begin := time.Now()
	out := make([]csr, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i := range out {
		group.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			out[i], err = newCSR()
			return err
		})
	}
	err := group.Wait()
	progress("  %d keys with their CSRs in %.1f s", n, time.Since(begin).Seconds())
	return out, err
}

func newCSR() (csr, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return csr{}, fmt.Errorf("make CSR: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return csr{}, fmt.Errorf("make CSR: %w", err)
	}
	return csr{der, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), &key.PublicKey}, nil
}

// yardstick measures, while something else is measured, what an ECDSA P-256 signature and the verification of one cost: no authority
// that looks at a proof of possession can do with less, and CPU time is not worth the same at all times where a machine is
// shared. The returned function ends it and gives the median in microseconds of CPU.
func yardstick() func() (float64, error) {
	stop, done := make(chan struct{}), make(chan struct{})
	var times []time.Duration
	var err error
	go func() {
		defer close(done)
		runtime.LockOSThread() // the clock is the thread's
		defer runtime.UnlockOSThread()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for err == nil {
			var d time.Duration
			if d, err = signature(); err == nil {
				times = append(times, d)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() (float64, error) {
		close(stop)
		<-done
		return float64(quantile(times, 0.5)) / 1e3, err
	}
}

// signature makes one and verifies it.
func signature() (time.Duration, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, fmt.Errorf("time a signature: %w", err)
	}
	digest := make([]byte, 32)
	before, err := threadTime()
	if err != nil {
		return 0, err
	}
	signed, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil || !ecdsa.VerifyASN1(&key.PublicKey, digest, signed) {
		return 0, fmt.Errorf("time a signature: it is not valid (%w)", err)
	}
	after, err := threadTime()
	return after - before, err
}

// issued is a certificate as it came: DER, or the PEM of Istio's API. It is looked at when no clock runs.
type issued struct {
	chain    [][]byte // leaf first
	pem      bool
	of       csr
	identity string // that it must be for
}

// check says what is wrong with a certificate: another key or another name than was asked for, or nobody's signature.
func (c issued) check(roots *x509.CertPool) error {
	var parsed []*x509.Certificate
	for _, data := range c.chain {
		if c.pem {
			block, _ := pem.Decode(data)
			if block == nil {
				return fmt.Errorf("certificate for %s: no PEM", c.identity)
			}
			data = block.Bytes
		}
		cert, err := x509.ParseCertificate(data)
		if err != nil {
			return fmt.Errorf("certificate for %s: %w", c.identity, err)
		}
		parsed = append(parsed, cert)
	}
	if len(parsed) == 0 {
		return fmt.Errorf("certificate for %s: none came", c.identity)
	}
	leaf, above := parsed[0], x509.NewCertPool()
	for _, cert := range parsed[1:] {
		above.AddCert(cert)
	}
	if !c.of.key.Equal(leaf.PublicKey) {
		return fmt.Errorf("certificate for %s: it has another key", c.identity)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != c.identity {
		return fmt.Errorf("certificate for %s: it is for %v", c.identity, leaf.URIs)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("certificate for %s: %w", c.identity, err)
	}
	return nil
}
