package workloadapi

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/singleflight"

	"fairlead.io/fairlead/pkg/node"
)

// signTimeout is how long the signing of a token may take; it goes on when its first caller has gone, for those that wait with it.
const signTimeout = 10 * time.Second

// tokens keeps JWT-SVIDs until half of their life, so that workloads that ask for one before each of their calls cost the server
// nothing. Those that were used last are kept.
type tokens struct {
	identities   node.Identities
	most, perPod int
	metrics      *metrics
	flight       singleflight.Group

	mu    sync.Mutex
	byKey map[string]*list.Element // of *token
	used  *list.List               // the last used first
	ofPod map[string]int
}

type token struct {
	key, uid string
	jwt      node.JWT
	kid      string
	until    time.Time
}

func newTokens(i node.Identities, most int, m *metrics) *tokens {
	return &tokens{
		identities: i, most: most, perPod: max(1, most/16), metrics: m,
		byKey: map[string]*list.Element{}, used: list.New(), ofPod: map[string]int{},
	}
}

// get gives a token of the pod's identity for a sorted audience.
func (t *tokens) get(ctx context.Context, uid string, audience []string, v view) (node.JWT, error) {
	key := fmt.Sprintf("%s %q", uid, audience) // quoted: an audience may have any bytes
	if j, ok := t.kept(key, v); ok {
		t.metrics.tokens.WithLabelValues("kept").Inc()
		return j, nil
	}
	done := t.flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signTimeout)
		defer cancel()
		t.metrics.tokens.WithLabelValues("signed").Inc()
		j, err := t.identities.JWT(ctx, uid, audience)
		if err != nil {
			return node.JWT{}, err
		}
		return j, t.keep(key, uid, j)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return node.JWT{}, r.Err
		}
		if j := r.Val.(node.JWT); j.ID == v.svid.ID {
			return j, nil
		}
		return node.JWT{}, errors.New("sign JWT-SVID: it is of another identity than the X.509-SVID")
	case <-ctx.Done():
		return node.JWT{}, ctx.Err()
	}
}

// kept gives a token that is not in the second half of its life, of the identity that the pod has, by a key that is trusted still.
func (t *tokens) kept(key string, v view) (node.JWT, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byKey[key]
	if e == nil {
		return node.JWT{}, false
	}
	k := e.Value.(*token)
	_, trusted := v.bundles.JWT[k.jwt.ID.TrustDomain()][k.kid]
	if !trusted || k.jwt.ID != v.svid.ID || !time.Now().Before(k.until) {
		t.drop(e)
		return node.JWT{}, false
	}
	t.used.MoveToFront(e)
	return k.jwt, true
}

// algorithms are those that a JWT-SVID may be signed by (JWT-SVID, 2.1).
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
}

func (t *tokens) keep(key, uid string, j node.JWT) error {
	parsed, err := jwt.ParseSigned(j.Token, algorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return fmt.Errorf("sign JWT-SVID of %s: what came is no signed token", j.ID)
	}
	now := time.Now()
	k := &token{key: key, uid: uid, jwt: j, kid: parsed.Headers[0].KeyID, until: now.Add(j.Expires.Sub(now) / 2)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byKey[key]; e != nil {
		t.drop(e)
	}
	if t.ofPod[uid] >= t.perPod {
		e := t.used.Back()
		for e.Value.(*token).uid != uid {
			e = e.Prev()
		}
		t.drop(e)
	}
	if t.used.Len() >= t.most {
		t.drop(t.used.Back())
	}
	t.byKey[key] = t.used.PushFront(k)
	t.ofPod[uid]++
	return nil
}

// drop forgets a token; mu is held.
func (t *tokens) drop(e *list.Element) {
	k := t.used.Remove(e).(*token)
	delete(t.byKey, k.key)
	if t.ofPod[k.uid]--; t.ofPod[k.uid] <= 0 {
		delete(t.ofPod, k.uid)
	}
}
