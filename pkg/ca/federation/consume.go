package federation

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"fairlead.io/fairlead/pkg/ca/rotate"
	"fairlead.io/fairlead/pkg/model"
)

// Config is what a Consumer needs. Put is required.
type Config struct {
	// Local are our own trust domain and its aliases: nobody else's word is taken for them.
	Local     []spiffeid.TrustDomain
	Relations []Relation
	// Put takes the bundles into the tables.
	Put rotate.Put
	// Timeout bounds one fetch (default 10 s), MaxSize the bytes of a bundle (default 1 MiB).
	Timeout time.Duration
	MaxSize int64
	// Shortest and Longest bound the time between two fetches, which the bundle itself asks for (default 1 min and 1 h; 5 min
	// where it does not). Retry is the first pause after a failure (default 5 s).
	Shortest, Longest, Retry time.Duration
	Log                      *slog.Logger
	Registry                 prometheus.Registerer
}

// Consumer fetches the bundles of other trust domains.
type Consumer struct {
	cfg       Config
	log       *slog.Logger
	relations []*relation
	known     *spiffebundle.Set // the last good ones
	refreshes *prometheus.CounterVec
	fetched   *prometheus.GaugeVec
	put       sync.Mutex
}

type relation struct {
	Relation
	td     spiffeid.TrustDomain
	client *http.Client
}

// New checks the relations, and reads the bundles to begin with.
func New(cfg Config) (*Consumer, error) {
	cfg.Timeout, cfg.MaxSize = cmp.Or(cfg.Timeout, 10*time.Second), cmp.Or(cfg.MaxSize, 1<<20)
	cfg.Shortest, cfg.Longest = cmp.Or(cfg.Shortest, time.Minute), cmp.Or(cfg.Longest, time.Hour)
	cfg.Retry = cmp.Or(cfg.Retry, 5*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Consumer{
		cfg: cfg, log: cfg.Log.With("part", "federation"), known: spiffebundle.NewSet(),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_federation_refreshes_total", Help: "Fetches of the bundles of other trust domains, by result: ok, failed.",
		}, []string{"trust_domain", "result"}),
		fetched: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairlead_federation_bundle_fetched_timestamp_seconds", Help: "When the bundle of a trust domain was fetched last; 0 before.",
		}, []string{"trust_domain"}),
	}
	var errs []error
	seen := map[spiffeid.TrustDomain]bool{}
	for _, td := range cfg.Local {
		seen[td] = true
	}
	for i := range cfg.Relations {
		r := cfg.Relations[i]
		td, id, err := r.check()
		if err == nil && seen[td] {
			err = errors.New("the trust domain is our own, or an alias, or listed twice")
		}
		if err == nil {
			err = c.add(&r, td, id)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("federation[%d] (%s): %w", i, r.TrustDomain, err))
		}
		seen[td] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.Registry != nil {
		cfg.Registry.MustRegister(c.refreshes, c.fetched)
	}
	return c, nil
}

// add prepares one relation.
func (c *Consumer) add(r *Relation, td spiffeid.TrustDomain, id spiffeid.ID) error {
	if r.BundleFile != "" {
		b, err := spiffebundle.Load(td, r.BundleFile)
		if err != nil {
			return fmt.Errorf("bundleFile: %w", err)
		}
		if len(b.X509Authorities()) == 0 {
			return errors.New("bundleFile: there is no root in it")
		}
		c.known.Add(b)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case r.Profile == Spiffe:
		conf = tlsconfig.TLSClientConfig(c.known, tlsconfig.AuthorizeID(id))
	case r.RootsFile != "":
		pem, err := os.ReadFile(r.RootsFile)
		if err != nil {
			return fmt.Errorf("rootsFile: %w", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("rootsFile %s has no certificate", r.RootsFile)
		}
	}
	c.relations = append(c.relations, &relation{Relation: *r, td: td, client: &http.Client{
		Timeout: c.cfg.Timeout,
		// A connection is made anew for each fetch: the roots may be others by then.
		Transport:     &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	return nil
}

// Run puts what is known, and fetches until ctx ends, which is no error.
func (c *Consumer) Run(ctx context.Context) error {
	c.publish()
	var running sync.WaitGroup
	for _, r := range c.relations {
		running.Go(func() { c.follow(ctx, r) })
	}
	running.Wait()
	return nil
}

// follow fetches one bundle again and again.
func (c *Consumer) follow(ctx context.Context, r *relation) {
	c.fetched.WithLabelValues(r.td.Name()).Set(0)
	retry := c.cfg.Retry
	for ctx.Err() == nil {
		pause := c.interval(r)
		err := c.refresh(ctx, r)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.refreshes.WithLabelValues(r.td.Name(), "failed").Inc()
			c.log.Warn("cannot fetch the bundle of a trust domain; the last good one stays", "trustDomain", r.td.Name(), "url", r.URL, "error", err)
			pause, retry = min(retry, pause), min(2*retry, c.cfg.Longest)
		default:
			c.refreshes.WithLabelValues(r.td.Name(), "ok").Inc()
			c.fetched.WithLabelValues(r.td.Name()).SetToCurrentTime()
			pause, retry = c.interval(r), c.cfg.Retry
		}
		t := time.NewTimer(pause - time.Duration(rand.Int64N(int64(pause)/10+1)))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// interval is the time to the next fetch, as the bundle asks for it.
func (c *Consumer) interval(r *relation) time.Duration {
	hint := 5 * time.Minute
	if b, ok := c.known.Get(r.td); ok {
		if h, ok := b.RefreshHint(); ok {
			hint = h
		}
	}
	return max(c.cfg.Shortest, min(hint, c.cfg.Longest))
}

// refresh fetches once, and takes what is good and not older.
func (c *Consumer) refresh(ctx context.Context, r *relation) error {
	b, err := c.fetch(ctx, r)
	if err != nil {
		return err
	}
	if len(b.X509Authorities()) == 0 {
		return errors.New("the bundle has no root")
	}
	if old, ok := c.known.Get(r.td); ok {
		was, had := old.SequenceNumber()
		is, has := b.SequenceNumber()
		switch {
		case had && !has:
			return fmt.Errorf("the bundle has no sequence number, and had %d", was)
		case had && is < was:
			return fmt.Errorf("the bundle's sequence number went back from %d to %d", was, is)
		case old.Equal(b):
			return nil
		}
	}
	c.known.Add(b)
	c.log.Info("the bundle of a trust domain is another", "trustDomain", r.td.Name(), "roots", len(b.X509Authorities()))
	c.publish()
	return nil
}

// fetch gets a bundle. Redirects are not followed: the profile speaks of the endpoint that is named.
func (c *Consumer) fetch(ctx context.Context, r *relation) (*spiffebundle.Bundle, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch bundle: %w", err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch bundle: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch bundle: the endpoint answers %s", res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, c.cfg.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("fetch bundle: %w", err)
	}
	if int64(len(data)) > c.cfg.MaxSize {
		return nil, fmt.Errorf("fetch bundle: it has more than %d bytes", c.cfg.MaxSize)
	}
	b, err := spiffebundle.Parse(r.td, data)
	if err != nil {
		return nil, fmt.Errorf("fetch bundle: %w", err)
	}
	return b, nil
}

// publish puts all that is known. Two relations may have news at once: whoever comes second puts both.
func (c *Consumer) publish() {
	c.put.Lock()
	defer c.put.Unlock()
	var names []string
	var out []*model.TrustBundle
	for _, r := range c.relations {
		names = append(names, r.td.Name())
		if b, ok := c.known.Get(r.td); ok {
			out = append(out, bundle(b))
		}
	}
	if len(names) > 0 {
		c.cfg.Put(names, out)
	}
}

// bundle is a bundle as the tables have it.
func bundle(b *spiffebundle.Bundle) *model.TrustBundle {
	td := b.TrustDomain()
	sequence, _ := b.SequenceNumber()
	out := &model.TrustBundle{
		Meta:     model.Meta{Ref: model.TrustBundleRef(td.Name()), UID: td.IDString(), Generation: int64(min(sequence, math.MaxInt64))},
		Sequence: sequence,
	}
	for _, c := range b.X509Authorities() {
		out.X509 = append(out.X509, c.Raw)
	}
	for id, key := range b.JWTAuthorities() {
		if der, err := x509.MarshalPKIXPublicKey(key); err == nil {
			out.JWT = append(out.JWT, model.JWTAuthority{KeyID: id, PublicKey: der})
		}
	}
	slices.SortFunc(out.JWT, func(a, b model.JWTAuthority) int { return cmp.Compare(a.KeyID, b.KeyID) })
	out.ResourceVersion = rotate.BundleVersion(out)
	return out
}
