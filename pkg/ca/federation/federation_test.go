package federation

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/model"
)

// mesh is one trust domain with its authority and bundle endpoint.
type mesh struct {
	t    *testing.T
	td   spiffeid.TrustDomain
	id   spiffeid.ID
	auth *authority.Authority
	url  string
	// file has the bundle of the start.
	file string
}

func newMesh(t *testing.T, name string) *mesh {
	t.Helper()
	td := spiffeid.RequireTrustDomainFromString(name)
	m := &mesh{t: t, td: td, id: spiffeid.RequireFromPath(td, "/ns/fairlead-system/sa/fairlead"), file: filepath.Join(t.TempDir(), "bundle.json")}
	m.auth = authority.New(authority.Config{TrustDomain: td, Store: store.NewMemory()})
	m.change(func(s authority.State) (authority.State, error) {
		g, err := authority.Generate(td, time.Now())
		if err != nil {
			return s, err
		}
		return authority.First(g, time.Now())
	})
	data, err := m.auth.Bundle().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mesh) change(fn func(authority.State) (authority.State, error)) {
	m.t.Helper()
	if _, err := m.auth.Update(context.Background(), fn); err != nil {
		m.t.Fatal(err)
	}
}

// more trusts one more root.
func (m *mesh) more() {
	m.t.Helper()
	m.change(func(s authority.State) (authority.State, error) {
		g, err := authority.Generate(m.td, time.Now())
		if err != nil {
			return s, err
		}
		return authority.Add(s, g)
	})
}

// svid is a certificate of the mesh for an ID.
func (m *mesh) svid(id spiffeid.ID) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	x, err := m.auth.SignX509(authority.X509Template{ID: id, PublicKey: key.Public(), TTL: time.Hour})
	if err != nil {
		m.t.Fatal(err)
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: x.Raw, PrivateKey: key}, nil
	}
}

// serve opens the endpoint.
func (m *mesh) serve(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) {
	m.t.Helper()
	h, err := Handler(m.td, m.auth, "https://"+m.td.Name())
	if err != nil {
		m.t.Fatal(err)
	}
	m.url = open(m.t, h, certificate) + BundlePath
}

func open(t *testing.T, h http.Handler, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, certificate, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- Serve(s, lis) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "https://" + lis.Addr().String()
}

// tables takes what is put.
type tables struct {
	mu   sync.Mutex
	rows map[string]*model.TrustBundle
}

func (x *tables) put(domains []string, bundles []*model.TrustBundle) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rows = map[string]*model.TrustBundle{}
	for _, b := range bundles {
		x.rows[b.Name] = b
	}
}

func (x *tables) get(td string) *model.TrustBundle {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rows[td]
}

func (x *tables) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// consume runs a Consumer that looks again every few milliseconds.
func consume(t *testing.T, local spiffeid.TrustDomain, relations ...Relation) *tables {
	t.Helper()
	x := &tables{}
	c, err := New(Config{
		Local: []spiffeid.TrustDomain{local}, Relations: relations, Put: x.put,
		Shortest: 10 * time.Millisecond, Longest: 20 * time.Millisecond, Retry: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return x
}

// TestFederate has two meshes fetch each other's bundles, one by each profile, through changes of what they trust.
func TestFederate(t *testing.T) {
	east, west := newMesh(t, "east.test"), newMesh(t, "west.test")
	east.serve(east.svid(east.id))
	files := newWeb(t)
	web, err := NewCertificateFile(files.cert, files.key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var handshakes atomic.Int64
	west.serve(func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		handshakes.Add(1)
		return web.GetCertificate(h)
	})

	atWest := consume(t, west.td, Relation{TrustDomain: "east.test", URL: east.url, Profile: Spiffe, EndpointID: east.id.String(), BundleFile: east.file})
	atEast := consume(t, east.td, Relation{TrustDomain: "west.test", URL: west.url, Profile: Web, RootsFile: files.roots})
	for _, side := range []struct {
		at   *tables
		of   *mesh
		name string
	}{{atWest, east, "east.test"}, {atEast, west, "west.test"}} {
		side.at.until(t, "a bundle of "+side.name, func() bool { return side.at.get(side.name) != nil })
		b := side.at.get(side.name)
		if b.Local || b.Signing != "" || b.Generation != int64(b.Sequence) || b.UID != "spiffe://"+side.name || len(b.JWT) != 1 || len(b.Faults()) > 0 {
			t.Errorf("%s: %+v", side.name, b)
		}
		side.of.more()
		side.at.until(t, "two roots of "+side.name, func() bool { return len(side.at.get(side.name).X509) == 2 })
		if now := side.at.get(side.name); now.Sequence <= b.Sequence || now.ResourceVersion == b.ResourceVersion {
			t.Errorf("%s: sequence %d after %d, version %s after %s", side.name, now.Sequence, b.Sequence, now.ResourceVersion, b.ResourceVersion)
		}
	}

	// The mounted certificate is replaced by one of another authority: the endpoint serves that one, and is not believed.
	files.write(t)
	west.more()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: files.pool(t)}}}
	if res, err := client.Get(west.url); err != nil {
		t.Errorf("the new certificate is not served: %v", err)
	} else {
		res.Body.Close()
	}
	asked := handshakes.Load()
	atEast.until(t, "fetches that fail", func() bool { return handshakes.Load() > asked+5 })
	if got := atEast.get("west.test"); len(got.X509) != 2 {
		t.Errorf("an endpoint with a certificate of another authority is believed: %d roots", len(got.X509))
	}
}

// TestNotBelieved has endpoints that must not be believed: the bundle to begin with stays.
func TestNotBelieved(t *testing.T) {
	east, evil := newMesh(t, "east.test"), newMesh(t, "east.test")
	body := func(m *mesh) []byte {
		data, err := m.auth.Bundle().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	old := body(east)
	east.more()
	if err := os.WriteFile(east.file, body(east), 0o600); err != nil {
		t.Fatal(err)
	}
	east.more()
	newest := body(east)
	empty := []byte(`{"keys":[],"spiffe_sequence":99}`)
	for name, c := range map[string]struct {
		certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
		body        []byte
		code        int
		believed    bool
	}{
		"as it should be":          {east.svid(east.id), newest, 200, true},
		"other authority":          {evil.svid(evil.id), newest, 200, false},
		"other identity":           {east.svid(spiffeid.RequireFromPath(east.td, "/ns/shop/sa/web")), newest, 200, false},
		"older sequence":           {east.svid(east.id), old, 200, false},
		"no roots":                 {east.svid(east.id), empty, 200, false},
		"no sequence any more":     {east.svid(east.id), []byte(strings.Replace(string(newest), `"spiffe_sequence"`, `"other"`, 1)), 200, false},
		"an error with a bundle":   {east.svid(east.id), newest, 500, false},
		"a redirect":               {east.svid(east.id), newest, 302, false},
		"too large":                {east.svid(east.id), append(newest, []byte(strings.Repeat(" ", 2<<20))...), 200, false},
		"nothing that can be read": {east.svid(east.id), []byte("<html>"), 200, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 1000)
			url := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case asked <- struct{}{}:
				default:
				}
				w.Header().Set("Location", "/other")
				if r.URL.Path == "/other" {
					w.WriteHeader(http.StatusOK)
				} else {
					w.WriteHeader(c.code)
				}
				_, _ = w.Write(c.body)
			}), c.certificate)
			x := &tables{}
			consumer, err := New(Config{Put: x.put, Relations: []Relation{{
				TrustDomain: "east.test", URL: url, Profile: Spiffe, EndpointID: east.id.String(), BundleFile: east.file,
			}}})
			if err != nil {
				t.Fatal(err)
			}
			consumer.publish()
			err = consumer.refresh(context.Background(), consumer.relations[0])
			roots := len(x.get("east.test").X509)
			if c.believed != (err == nil) || c.believed != (roots == 3) || !c.believed && roots != 2 {
				t.Errorf("believed: %v, want %v; %d roots", err, c.believed, roots)
			}
			t.Log(err)
		})
	}
}

// TestConfig refuses relations that cannot be meant.
func TestConfig(t *testing.T) {
	own := spiffeid.RequireTrustDomainFromString("cluster.local")
	m := newMesh(t, "east.test")
	good := Relation{TrustDomain: "east.test", URL: "https://east.test/bundle", Profile: Web}
	for want, change := range map[string]func(*Relation){
		"our own":                  func(r *Relation) { r.TrustDomain = "cluster.local" },
		"trustDomain":              func(r *Relation) { r.TrustDomain = "Not A Domain" },
		"is not https":             func(r *Relation) { r.URL = "http://east.test/" },
		"without a user":           func(r *Relation) { r.URL = "https://u:p@east.test/" },
		"neither":                  func(r *Relation) { r.Profile = "plain" },
		"endpointSPIFFEID is of":   func(r *Relation) { r.EndpointID = m.id.String() },
		"endpointSPIFFEID: ":       func(r *Relation) { r.Profile = Spiffe },
		"a bundle to begin with":   func(r *Relation) { r.Profile, r.EndpointID = Spiffe, m.id.String() },
		"has no certificate":       func(r *Relation) { r.RootsFile = m.file },
		"rootsFile is of profile":  func(r *Relation) { r.Profile, r.EndpointID, r.RootsFile = Spiffe, m.id.String(), "x" },
		"bundleFile: spiffebundle": func(r *Relation) { r.BundleFile = "/does/not/exist" },
	} {
		r := good
		change(&r)
		if _, err := New(Config{Local: []spiffeid.TrustDomain{own}, Relations: []Relation{r}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	if _, err := New(Config{Local: []spiffeid.TrustDomain{own}, Relations: []Relation{good, good}}); err == nil {
		t.Error("a trust domain may be listed twice")
	}
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte("federation:\n- trustDomain: east.test\n  url: https://east.test/bundle\n  profile: https_web\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := Load(path); err != nil || len(list) != 1 || list[0] != good {
		t.Errorf("load: %+v, %v", list, err)
	}
	if err := os.WriteFile(path, []byte("federation:\n- trustdomain: east.test\n  uri: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("an unknown field is taken")
	}
}

// TestKeys looks at what those see who know OIDC and not SPIFFE.
func TestKeys(t *testing.T) {
	m := newMesh(t, "east.test")
	m.serve(m.svid(m.id))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // what is served is looked at, not by whom
	page := func(path string) []byte {
		res, err := client.Get(strings.TrimSuffix(m.url, BundlePath) + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %s %v", path, res.Status, err)
		}
		if strings.Contains(string(data), `"d"`) {
			t.Errorf("%s has a private key: %s", path, data)
		}
		return data
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(page(KeysPath), &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
		t.Fatalf("keys: %+v, %v", set, err)
	}
	token, _, err := m.auth.SignJWT(authority.JWTTemplate{ID: m.id, Audience: []string{"x"}, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(set); err != nil {
		t.Errorf("a token is not verified by the keys: %v", err)
	}
	var doc struct {
		Issuer  string
		JwksURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(page(DiscoveryPath), &doc); err != nil || doc.Issuer != "https://east.test" || doc.JwksURI != "https://east.test/keys" {
		t.Errorf("discovery: %+v, %v", doc, err)
	}
}

// web is a mounted certificate of the Web PKI.
type web struct{ cert, key, roots string }

func newWeb(t *testing.T) *web {
	t.Helper()
	dir := t.TempDir()
	w := &web{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
	w.write(t)
	return w
}

func (w *web) write(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, data := range map[string][]byte{w.cert: cert, w.key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), w.roots: cert} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *web) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(w.roots)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(data)
	return p
}
