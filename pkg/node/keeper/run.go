package keeper

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"fairlead.io/fairlead/pkg/node"
)

const (
	// maxBatch is how many certificates one call asks for (fairlead.ca.v1), maxCalls how many calls are under way at once.
	maxBatch = 100
	maxCalls = 4
	// longestNap bounds how long a jump of the wall clock goes unseen.
	longestNap = 10 * time.Second
)

// Run asks for what is due until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		batch, nap := k.due()
		if len(batch) > 0 {
			calls.Go(func() {
				k.sign(ctx, batch)
				<-k.calls
				k.nudge()
			})
			continue
		}
		timer.Reset(nap)
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-timer.C:
		}
	}
}

// due takes what is to be asked for now, with a place for its call, or says how long there is nothing to do. The node's
// own comes first: nothing else is asked for before it is there.
func (k *Keeper) due() (batch []*entry, nap time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wall, nap := k.cfg.Wall(), longestNap
	k.expire(wall)
	paused := time.Until(k.paused)
	for e := range k.all {
		if e != k.node && k.node.id.IsZero() {
			break
		}
		if left := e.left(wall); left > 0 {
			nap = min(nap, left)
		}
		if e.busy {
			continue
		}
		wait := max(e.wait(wall), paused)
		if wait > 0 {
			nap = min(nap, wait)
			continue
		}
		if len(batch) < maxBatch {
			batch = append(batch, e)
		}
	}
	if len(batch) == 0 {
		return nil, nap
	}
	select {
	case k.calls <- struct{}{}:
	default:
		return nil, longestNap // the end of a call wakes
	}
	for _, e := range batch {
		e.busy = true
	}
	return batch, 0
}

// expire drops what has ended.
func (k *Keeper) expire(wall time.Time) {
	for e := range k.all {
		if e.svid == nil || e.left(wall) > 0 {
			continue
		}
		k.cfg.Log.Error("SVID has ended and was not renewed; it is served no more. See whether the control plane can be reached, and what it refuses",
			"id", k.name(e), "ended", e.notAfter, "failures", e.failures, "error", e.err)
		k.metrics.lapsed.Inc()
		e.svid = nil
		renew(&e.changed)
		k.touch(e)
	}
}

// ask is one certificate under way.
type ask struct {
	entry *entry
	key   *ecdsa.PrivateKey
}

// sign has a batch signed.
func (k *Keeper) sign(ctx context.Context, batch []*entry) {
	asks, requests, err := k.requests(batch)
	var results []Result
	if err == nil && len(requests) > 0 {
		results, err = k.cfg.Signer.SignX509(ctx, requests)
	}
	if err == nil && len(results) != len(requests) {
		err = fmt.Errorf("asked for %d certificates, the server answered for %d", len(requests), len(results))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range batch {
		e.busy = false
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		k.pause(batch, err)
		return
	}
	if len(requests) > 0 {
		k.refused = 0
	}
	for i, a := range asks {
		k.settle(a, &results[i])
	}
}

// requests makes a key and its request for each of a batch, without those whose last pod has gone just now.
func (k *Keeper) requests(batch []*entry) ([]ask, []Request, error) {
	asks, requests := k.wanted(batch)
	for i := range asks {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("make a key: %w", err)
		}
		// The identity comes from the caller and the subject, so the request carries the key alone.
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			return nil, nil, fmt.Errorf("make a certificate request: %w", err)
		}
		asks[i].key, requests[i].CSR = key, csr
	}
	return asks, requests, nil
}

// wanted tells whom a batch is for.
func (k *Keeper) wanted(batch []*entry) (asks []ask, requests []Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range batch {
		r := Request{TTL: k.cfg.TTL}
		if e != k.node {
			if len(e.pods) == 0 {
				continue
			}
			ref := e.pods[e.failures%len(e.pods)] // one that was refused may have finished
			r.Pod = &ref
		}
		asks, requests = append(asks, ask{entry: e}), append(requests, r)
	}
	return asks, requests
}

// pause holds everything back after a call that failed as a whole.
func (k *Keeper) pause(batch []*entry, err error) {
	k.refused++
	k.metrics.renewals.WithLabelValues("unavailable").Add(float64(len(batch)))
	wall, left := k.cfg.Wall(), time.Duration(0)
	for e := range k.all {
		if l := e.left(wall); l > 0 && (left == 0 || l < left) {
			left = l
		}
	}
	wait := backoff(k.refused, lastPause, left)
	k.paused = time.Now().Add(wait)
	for _, e := range batch {
		e.err = err
	}
	k.cfg.Log.Warn("the control plane signs nothing now; what there is stays until its end, and it is tried again",
		"certificates", len(batch), "failures", k.refused, "again in", wait.Round(time.Millisecond), "shortest left", left.Round(time.Second), "error", err)
}

// settle takes in one answer.
func (k *Keeper) settle(a ask, r *Result) {
	e := a.entry
	if e != k.node && k.entries[e.id] != e {
		return // its last pod has gone meanwhile
	}
	wall := k.cfg.Wall()
	svid, err := k.accept(a, r, wall)
	if err != nil {
		e.failures++
		e.err = err
		wait := backoff(e.failures, lastRetry, e.left(wall))
		e.next = time.Now().Add(wait)
		k.metrics.renewals.WithLabelValues("refused").Inc()
		k.cfg.Log.Warn("SVID was refused; the one there is stays until its end, and it is asked for again",
			"id", k.name(e), "failures", e.failures, "again in", wait.Round(time.Millisecond), "left", e.left(wall).Round(time.Second), "error", err)
		return
	}
	outcome := "issued"
	if e.svid != nil {
		outcome = "renewed"
	}
	k.metrics.renewals.WithLabelValues(outcome).Inc()
	e.keep(svid, wall)
	k.hasten(e)
	k.touch(e)
	k.cfg.Log.Info("SVID "+outcome, "id", svid.ID, "ends", e.notAfter, "authority", svid.Authority)
}

// accept checks what the server gave: a certificate of the key that was made, of the identity that was asked for, valid
// now and verified by what is trusted, if anything is known of that.
func (k *Keeper) accept(a ask, r *Result, wall time.Time) (*node.SVID, error) {
	switch {
	case r.Err != nil:
		return nil, r.Err
	case len(r.Chain) == 0:
		return nil, errors.New("the server gave no certificate")
	}
	leaf := r.Chain[0]
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(a.key.Public()):
		return nil, errKey
	case len(leaf.URIs) != 1 || leaf.URIs[0].String() != r.ID.String():
		return nil, fmt.Errorf("the certificate has the URIs %v, not %s", leaf.URIs, r.ID)
	case a.entry != k.node && r.ID != a.entry.id:
		return nil, fmt.Errorf("the certificate is for %s, asked was for %s", r.ID, a.entry.id)
	case !leaf.NotAfter.After(wall):
		return nil, fmt.Errorf("the certificate has ended at %s already: compare the clocks of this node and of the control plane", leaf.NotAfter)
	}
	if err := k.verify(r, leaf, wall); err != nil {
		return nil, err
	}
	return &node.SVID{ID: r.ID, Chain: r.Chain, Key: a.key, Authority: r.Authority}, nil
}

func (k *Keeper) verify(r *Result, leaf *x509.Certificate, wall time.Time) error {
	if k.bundles == nil {
		return nil // the first one, which came over a connection whose server was verified
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range k.bundles.X509[r.ID.TrustDomain()] {
		roots.AddCert(c)
	}
	for _, c := range r.Chain[1:] {
		between.AddCert(c)
	}
	at := wall
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore // this node's clock is behind: time will tell
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("the certificate is of an authority that is not trusted here yet: %w", err)
	}
	return nil
}

// name is an entry's identity for people.
func (k *Keeper) name(e *entry) string {
	if e == k.node && e.id.IsZero() {
		return "the node's own"
	}
	return e.id.String()
}
