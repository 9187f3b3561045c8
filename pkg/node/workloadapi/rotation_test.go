package workloadapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	client "github.com/spiffe/go-spiffe/v2/workloadapi"
)

var td = spiffeid.RequireTrustDomainFromString(domain)

func source(t *testing.T, r *rig, uid string) *client.X509Source {
	t.Helper()
	s, err := client.NewX509Source(within(t), r.options(uid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func trusts(s *client.X509Source, root *x509.Certificate) bool {
	b, err := s.GetX509BundleForTrustDomain(td)
	return err == nil && b.HasX509Authority(root)
}

// signedBy tells whether the source's SVID is verified by this root alone.
func signedBy(s *client.X509Source, root *x509.Certificate) bool {
	svid, err := s.GetX509SVID()
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err = svid.Certificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// Sources live through five rotations, each to another root, and what they have is good all the time.
func TestSourcesThroughRotations(t *testing.T) {
	r := start(t, func(c *Config) { c.Hint = "internal" })
	r.Set("a")
	r.Federate("other.org", []*x509.Certificate{})
	xs := source(t, r, "a")
	js, err := client.NewJWTSource(within(t), r.options("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer js.Close()
	var before string
	for range 5 {
		root := r.Distribute()
		eventually(t, "the new root is trusted", func() bool { return trusts(xs, root) })
		if signedBy(xs, root) {
			t.Fatal("signed by the new root too early")
		}
		r.Sign()
		eventually(t, "the new root has signed", func() bool { return signedBy(xs, root) })
		svid, err := js.FetchJWTSVID(within(t), jwtsvid.Params{Audience: "db"})
		if err != nil {
			t.Fatal(err)
		}
		token := svid.Marshal()
		eventually(t, "the token's key is there", func() bool {
			_, err := jwtsvid.ParseAndValidate(token, js, []string{"db"})
			return err == nil
		})
		r.Retire()
		eventually(t, "the old root is gone", func() bool {
			b, err := xs.GetX509BundleForTrustDomain(td)
			return err == nil && len(b.X509Authorities()) == 1 && b.HasX509Authority(root)
		})
		if before != "" {
			eventually(t, "tokens of the key before are refused", func() bool {
				_, err := jwtsvid.ParseAndValidate(before, js, []string{"db"})
				return err != nil
			})
		}
		before = token
		x, err := xs.GetX509SVID()
		if err != nil || x.Hint != "internal" || x.ID.String() != "spiffe://example.org/ns/test/sa/pod-a" {
			t.Fatalf("SVID %v, %v", x, err)
		}
	}
}

// Two workloads speak mTLS all the time, while the root changes five times.
func TestMutualTLSThroughRotations(t *testing.T) {
	r := start(t)
	r.Set("a")
	r.Set("b")
	a, b := source(t, r, "a"), source(t, r, "b")
	id := func(uid string) tlsconfig.Authorizer {
		return tlsconfig.AuthorizeID(spiffeid.RequireFromPath(td, "/ns/test/sa/pod-"+uid))
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(b, b, id("a")))
	if err != nil {
		t.Fatal(err)
	}
	var serving, calling sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	var handshakes atomic.Int64
	calling.Go(func() {
		for ; ctx.Err() == nil; handshakes.Add(1) {
			if err := echo(l.Addr().String(), tlsconfig.MTLSClientConfig(a, a, id("b"))); err != nil {
				t.Errorf("handshake %d: %v", handshakes.Load(), err)
				return
			}
		}
	})
	for range 5 {
		root := r.Distribute()
		eventually(t, "both trust the new root", func() bool { return trusts(a, root) && trusts(b, root) })
		r.Sign()
		eventually(t, "both are signed by the new root", func() bool { return signedBy(a, root) && signedBy(b, root) })
		more(t, &handshakes) // those that began with the old SVIDs have ended
		r.Retire()
		more(t, &handshakes)
	}
	stop()
	calling.Wait()
	_ = l.Close()
	serving.Wait()
	t.Logf("%d handshakes", handshakes.Load())
}

// more waits for a few handshakes.
func more(t *testing.T, n *atomic.Int64) {
	t.Helper()
	now := n.Load()
	eventually(t, "more handshakes", func() bool { return t.Failed() || n.Load() >= now+10 })
}

func echo(addr string, c *tls.Config) error {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 20 * time.Second}, Config: c}
	conn, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		return fmt.Errorf("read %q: %w", got, err)
	}
	return nil
}

// watcher notes when a context comes.
type watcher struct {
	mu     sync.Mutex
	serial map[string]time.Time
}

func (w *watcher) OnX509ContextUpdate(c *client.X509Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial[c.DefaultSVID().Certificates[0].SerialNumber.String()] = time.Now()
}
func (w *watcher) OnX509ContextWatchError(error) {}

func (w *watcher) seen(serial string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.serial[serial]
	return at, ok
}

// TestPushLatency tells how long it takes from a new SVID to the callback of go-spiffe's client.
func TestPushLatency(t *testing.T) {
	r := start(t)
	const pods, rounds = 20, 25
	watchers := map[string]*watcher{}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	for i := range pods {
		uid := fmt.Sprint("p", i)
		r.Set(uid)
		c, w := r.client(uid), &watcher{serial: map[string]time.Time{}}
		watchers[uid] = w
		watching.Go(func() { _ = c.WatchX509Context(ctx, w) })
	}
	arrived := func(uid string) (took time.Time) {
		svid, _, _ := r.X509(uid)
		eventually(t, "the SVID of "+uid, func() (ok bool) {
			took, ok = watchers[uid].seen(svid.Chain[0].SerialNumber.String())
			return ok
		})
		return took
	}
	for uid := range watchers {
		arrived(uid)
	}
	var took []time.Duration
	for range rounds {
		for uid := range watchers {
			r.Set(uid)
			began := time.Now()
			took = append(took, arrived(uid).Sub(began))
		}
	}
	stop()
	watching.Wait()
	slices.Sort(took)
	t.Logf("new SVID → client's callback, of %d: p50 %v, p99 %v, worst %v", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}
