package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"fairlead.io/fairlead/pkg/ca"
)

const (
	maxBelieved, maxRefused = 1 << 16, 1 << 12
	// refusedFor is how long a refusal is remembered.
	refusedFor = 5 * time.Second
)

// tokens verifies tokens: by what it remembers, by the cluster's keys, by asking the API server.
type tokens struct {
	audiences []string
	now       func() time.Time
	keys      *keys     // nil without
	review    *reviewer // nil without
	metrics   *metrics
	flight    singleflight.Group
	believed  *lru[[sha256.Size]byte, *believed]
	refused   *lru[[sha256.Size]byte, refused]
}

// believed is a token that is genuine. That its pod still runs is looked up at each use.
type believed struct {
	bearing
	// seen says that the pod has been found once: when it is missing now, it is gone, and not too new.
	seen atomic.Bool
}

type refused struct {
	refusal *Refusal
	until   time.Time
}

func newTokens(cfg Config, m *metrics) *tokens {
	t := &tokens{
		audiences: cfg.Audiences, now: cfg.Now, metrics: m,
		believed: newLRU[[sha256.Size]byte, *believed](maxBelieved), refused: newLRU[[sha256.Size]byte, refused](maxRefused),
	}
	if cfg.Keys != nil {
		t.keys = newKeys(cfg.Keys, cfg.Now, cfg.Log)
	}
	if cfg.Review != nil {
		t.review = newReviewer(cfg.Review, cfg.Audiences)
	}
	return t
}

func (t *tokens) verify(ctx context.Context, token string) (*believed, *Refusal) {
	key, now := sha256.Sum256([]byte(token)), t.now()
	if b, ok := t.believed.get(key); ok {
		if now.After(b.expires) {
			r := refuse(TokenExpired, "it ended at %s", b.expires)
			r.Claim = b.claim()
			return nil, r
		}
		t.count("cached", nil)
		return b, nil
	}
	if r, ok := t.refused.get(key); ok && now.Before(r.until) {
		t.count("cached", r.refusal)
		return nil, r.refusal
	}
	// Many calls may come with one token at once: it is verified once, and no caller's going away ends it for the others.
	answer := t.flight.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout)
		defer cancel()
		b, r := t.verifyNew(ctx, token)
		switch {
		case r == nil:
			t.believed.put(key, b)
		case r.final():
			t.refused.put(key, refused{r, t.now().Add(refusedFor)})
		}
		if r != nil {
			return nil, r
		}
		return b, nil
	})
	select {
	case a := <-answer:
		var r *Refusal
		if errors.As(a.Err, &r) {
			return nil, r
		}
		return a.Val.(*believed), nil
	case <-ctx.Done():
		return nil, later(TokenUnverified, "the caller did not wait: %v", ctx.Err())
	}
}

func (b *believed) claim() string {
	return "system:serviceaccount:" + b.pod.Namespace + ":" + b.pod.ServiceAccount + " pod " + b.pod.Name + " " + b.pod.UID
}

// verifyNew verifies a token that is not remembered.
func (t *tokens) verifyNew(ctx context.Context, token string) (*believed, *Refusal) {
	p, r := parse(token, t.audiences, t.now())
	if r != nil {
		return nil, r
	}
	method := ca.TokenJWKS
	known := false
	if t.keys != nil {
		known, r = t.keys.verify(ctx, p)
		if known {
			t.count(string(method), r)
		}
	}
	if !known {
		if t.review == nil {
			r = later(TokenUnverified, "no key %.100q is known, and there is no API server to ask", p.kid)
		} else {
			method = ca.TokenReview
			r = t.review.verify(ctx, token, p)
			t.count(string(method), r)
		}
	}
	if r != nil {
		copied := *r
		copied.Claim = p.claim()
		return nil, &copied
	}
	return &believed{bearing: p.bearing(method)}, nil
}

func (t *tokens) count(method string, r *Refusal) {
	outcome := "ok"
	switch {
	case r != nil && r.final():
		outcome = "refused"
	case r != nil:
		outcome = "failed"
	}
	t.metrics.verifications.WithLabelValues(method, outcome).Inc()
}
