package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/client-go/rest"
)

// KeySource gives what tokens of a cluster are verified with.
type KeySource interface {
	// Keys gives the issuer of tokens and its public keys by kid.
	Keys(ctx context.Context) (issuer string, set jose.JSONWebKeySet, err error)
}

// KeysOfCluster asks the API server for its issuer and keys (Kubernetes: service account issuer discovery). The client is that
// of kubernetes.Interface.Discovery().RESTClient(); its user needs the ClusterRole system:service-account-issuer-discovery.
func KeysOfCluster(c rest.Interface) KeySource { return cluster{c} }

type cluster struct{ client rest.Interface }

func (c cluster) Keys(ctx context.Context) (issuer string, set jose.JSONWebKeySet, err error) {
	var about struct {
		Issuer string `json:"issuer"`
	}
	raw, err := c.client.Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err == nil {
		err = json.Unmarshal(raw, &about)
	}
	if err != nil {
		return "", set, fmt.Errorf("read issuer of tokens: %w", err)
	}
	if raw, err = c.client.Get().AbsPath("/openid/v1/jwks").DoRaw(ctx); err != nil {
		return "", set, fmt.Errorf("read keys of tokens: %w", err)
	}
	set, err = parseKeys(raw)
	return about.Issuer, set, err
}

// KeysOfFile reads the keys from a file (RFC 7517, JWK Set), again when an unknown one is met. It is for where there is no API server.
func KeysOfFile(path, issuer string) KeySource { return file{path, issuer} }

type file struct{ path, issuer string }

func (f file) Keys(context.Context) (issuer string, set jose.JSONWebKeySet, err error) {
	raw, err := os.ReadFile(f.path)
	if err != nil {
		return "", set, fmt.Errorf("read keys of tokens: %w", err)
	}
	set, err = parseKeys(raw)
	return f.issuer, set, err
}

func parseKeys(raw []byte) (set jose.JSONWebKeySet, err error) {
	if err := json.Unmarshal(raw, &set); err != nil {
		return set, fmt.Errorf("read keys of tokens: %w", err)
	}
	public := set.Keys[:0]
	for _, k := range set.Keys {
		if k.KeyID != "" && k.Valid() && k.IsPublic() {
			public = append(public, k)
		}
	}
	if set.Keys = public; len(public) == 0 {
		return set, errors.New("read keys of tokens: there is no public key with a kid")
	}
	return set, nil
}

const (
	// keysOld is when keys are read again; those known stay while they cannot be read.
	keysOld = 5 * time.Minute
	// keysPause is the shortest time between two readings, whoever comes with unknown keys.
	keysPause = 10 * time.Second
)

// keys are the keys of a source, read when they are needed.
type keys struct {
	source KeySource
	now    func() time.Time
	log    *slog.Logger

	mu     sync.Mutex // guards all below
	issuer string
	byID   map[string]jose.JSONWebKey
	tried  time.Time // the last reading
	good   time.Time // the last one that succeeded
	busy   chan struct{}
}

func newKeys(s KeySource, now func() time.Time, log *slog.Logger) *keys {
	return &keys{source: s, now: now, log: log}
}

// verify verifies a signature; known is false when it is for others to tell.
func (k *keys) verify(ctx context.Context, p *parsed) (known bool, r *Refusal) {
	key, issuer, ok := k.find(ctx, p.kid)
	// An API server may have had other issuers before, whose tokens it believes until they end.
	if !ok || p.payload.Issuer != issuer {
		return false, nil
	}
	if key.Algorithm != "" && key.Algorithm != p.token.Headers[0].Algorithm {
		return true, refuse(TokenAlgorithm, "key %q is for %s, not %s", p.kid, key.Algorithm, p.token.Headers[0].Algorithm)
	}
	var verified jwt.Claims
	if err := p.token.Claims(key.Key, &verified); err != nil {
		return true, refuse(TokenSignature, "key %q: %v", p.kid, err)
	}
	return true, nil
}

func (k *keys) find(ctx context.Context, kid string) (key jose.JSONWebKey, issuer string, ok bool) {
	for range 2 {
		k.mu.Lock()
		key, ok = k.byID[kid]
		issuer = k.issuer
		done := k.refresh(ok)
		k.mu.Unlock()
		if ok || done == nil {
			return key, issuer, ok
		}
		select {
		case <-done:
		case <-ctx.Done():
			return key, issuer, false
		}
	}
	return key, issuer, ok
}

// refresh begins to read the keys when they are old, or when one is missing; the channel is closed when they have been read.
// The lock is held.
func (k *keys) refresh(found bool) <-chan struct{} {
	now := k.now()
	if k.busy != nil {
		return k.busy
	}
	if now.Sub(k.tried) < keysPause || found && now.Sub(k.good) < keysOld {
		return nil
	}
	k.tried = now
	busy := make(chan struct{})
	k.busy = busy
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), reviewTimeout/2)
		defer cancel()
		issuer, set, err := k.source.Keys(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		defer close(busy)
		k.busy = nil
		if err != nil {
			k.log.Warn("the keys of tokens cannot be read", "error", err, "known", len(k.byID))
			return
		}
		k.issuer, k.byID, k.good = issuer, map[string]jose.JSONWebKey{}, k.now()
		for _, key := range set.Keys {
			k.byID[key.KeyID] = key
		}
	}()
	return busy
}
