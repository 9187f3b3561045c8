package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/translate"
)

// identified is a server with an authority, of which the test has the keys.
type identified struct {
	*testing.T
	*Server
	authority *authority.Authority
	sink      source.Sink
	roots     string
}

func newIdentified(t *testing.T) *identified {
	t.Helper()
	i := newUnread(t)
	i.read()
	return i
}

// newUnread is a server whose source has told nothing yet.
func newUnread(t *testing.T) *identified {
	t.Helper()
	i := newBegun(t, func(*Config) {})
	eventually(t, func() error { _, err := i.identity.transport.GetCertificate(nil); return err })
	return i
}

// newBegun is a server that has not read its authority yet.
func newBegun(t *testing.T, change func(*Config)) *identified {
	t.Helper()
	dir := t.TempDir()
	keys, src := store.NewMemory(), scripted{make(chan source.Sink)}
	i := &identified{T: t, roots: filepath.Join(dir, "root-cert.pem")}
	cfg := Config{
		Mesh: resolve.DefaultConfig(), Source: src, Version: "test", Admin: "unix:" + filepath.Join(dir, "a"), XDS: "unix:" + filepath.Join(dir, "x"),
		Identity: &Identity{
			Address: "127.0.0.1:0", Store: keys, DNS: []string{"localhost"}, Account: authn.ServiceAccount{Namespace: "fairlead-system", Name: "fairlead"},
			Publish: PublishFile(i.roots), Federation: &Federation{Address: "127.0.0.1:0"},
		},
	}
	change(&cfg)
	var err error
	if i.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	i.authority = authority.New(authority.Config{TrustDomain: spiffeid.RequireTrustDomainFromString(cfg.Mesh.TrustDomain), Store: keys})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- i.Server.Run(ctx) }()
	go func() { done <- i.authority.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	<-i.authority.Ready()
	i.sink = <-src.sink
	return i
}

// read has the source tell all.
func (i *identified) read() {
	i.Helper()
	i.tell()
	eventually(i.T, i.trusted)
}

// tell has the source tell all, and waits for nothing.
func (i *identified) tell() {
	i.sink.Apply([]source.Update{
		put(nodeOf("a", "uid-a")), put(nodeOf("b", "uid-b")),
		put(podOn("a", "prod", "web", "web", nil)), put(podOn("b", "prod", "db", "db", nil)),
	}, source.Position{Seen: 1, Complete: 1})
	i.sink.Synced()
}

// as connects with an identity; with none for "".
func (i *identified) as(id string) *grpc.ClientConn {
	i.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	for _, r := range i.authority.State().Roots() {
		c.RootCAs.AddCert(r)
	}
	if id != "" {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			i.Fatal(err)
		}
		svid, err := i.authority.SignX509(authority.X509Template{ID: spiffeid.RequireFromString(id), PublicKey: &key.PublicKey, TTL: time.Hour})
		if err != nil {
			i.Fatal(err)
		}
		c.Certificates = []tls.Certificate{{Certificate: svid.Raw, PrivateKey: key}}
	}
	conn, err := grpc.NewClient(i.TLS(), grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		i.Fatal(err)
	}
	i.Cleanup(func() { _ = conn.Close() })
	return conn
}

// agent subscribes to types as the agent of a node, and gives the names of what it is served first.
func agent(t *testing.T, conn *grpc.ClientConn, node, typeURL string) ([]string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	_ = s.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, Node: &core.Node{Id: node, UserAgentName: "fairlead-node"}})
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range m.Resources {
		names = append(names, r.Name)
	}
	return names, nil
}

func request(t *testing.T, ns, name, uid, account string) *cav1.SignX509Request {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &cav1.SignX509Request{Certificates: []*cav1.X509Request{{Csr: csr, Subject: &cav1.Subject{Of: &cav1.Subject_Pod{Pod: &cav1.Pod{
		Namespace: ns, Name: name, Uid: uid, ServiceAccount: account,
	}}}}}}
}

// The agent of a node knows its own pods and the trust bundle, and gets identities for its pods and for no others.
func TestAgentOfANode(t *testing.T) {
	i := newIdentified(t)
	a := i.as("spiffe://cluster.local/node/a/uid-a")
	if names, err := agent(t, a, "a", translate.WorkloadType); err != nil || len(names) != 1 || names[0] != "uid-web" {
		t.Errorf("pods %v, %v", names, err)
	}
	if names, err := agent(t, a, "a", translate.TrustBundleType); err != nil || len(names) != 1 || names[0] != "cluster.local" {
		t.Errorf("trust bundles %v, %v", names, err)
	}
	if _, err := agent(t, a, "b", translate.WorkloadType); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another node's pods: %v", err)
	}
	service := cav1.NewCertificateAuthorityClient(a)
	out, err := service.SignX509(t.Context(), request(t, "prod", "web", "uid-web", "web"))
	if err != nil || out.GetResults()[0].GetSvid().GetSpiffeId() != "spiffe://cluster.local/ns/prod/sa/web" {
		t.Errorf("signed %v, %v", out, err)
	}
	out, err = service.SignX509(t.Context(), request(t, "prod", "db", "uid-db", "db"))
	if err != nil || out.GetResults()[0].GetError() == nil {
		t.Errorf("an identity of another node's pod: %v, %v", out, err)
	}
	page, err := admin.NewClient(i.Admin()).Raw(t.Context(), "/api/certificates")
	if err != nil || !strings.Contains(string(page), "spiffe://cluster.local/ns/prod/sa/web") {
		t.Errorf("certificates %s, %v", page, err)
	}
	i.sink.Apply([]source.Update{{Ref: model.Ref{Kind: "Pod", Namespace: "prod", Name: "web"}}}, source.Position{Seen: 2, Complete: 2})
	eventually(t, func() error {
		if out, err = service.SignX509(t.Context(), request(t, "prod", "web", "uid-web", "web")); err == nil && out.GetResults()[0].GetError() == nil {
			return os.ErrExist
		}
		return nil
	})
}

func TestNobodyGetsNothing(t *testing.T) {
	i := newIdentified(t)
	nobody := i.as("")
	if _, err := agent(t, nobody, "a", translate.WorkloadType); status.Code(err) != codes.Unauthenticated {
		t.Errorf("xDS: %v", err)
	}
	if _, err := cav1.NewCertificateAuthorityClient(nobody).SignX509(t.Context(), request(t, "prod", "web", "uid-web", "web")); status.Code(err) != codes.Unauthenticated {
		t.Errorf("authority: %v", err)
	}
	local, err := grpc.NewClient(i.XDS(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = local.Close() }()
	if _, err := cav1.NewCertificateAuthorityClient(local).SignX509(t.Context(), request(t, "prod", "web", "uid-web", "web")); status.Code(err) != codes.Unimplemented {
		t.Errorf("authority on the plaintext port: %v", err)
	}
	if names, err := agent(t, local, "b", translate.WorkloadType); err != nil || len(names) != 1 {
		t.Errorf("xDS on the plaintext port: %v, %v", names, err)
	}
}

func TestRootsArePublished(t *testing.T) {
	i := newIdentified(t)
	eventually(t, func() error {
		got, err := os.ReadFile(i.roots)
		if err == nil && string(got) != string(rootsPEM(i.authority.State())) {
			err = os.ErrInvalid
		}
		return err
	})
	c, err := tls.Dial("tcp", i.Bundles(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // whose it is is looked at
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if u := c.ConnectionState().PeerCertificates[0].URIs; len(u) != 1 || u[0].String() != "spiffe://cluster.local/ns/fairlead-system/sa/fairlead" {
		t.Errorf("the bundle is served by %v", u)
	}
}
