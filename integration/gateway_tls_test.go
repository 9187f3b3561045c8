package integration_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/mesh"
)

// signer signs certificates for a test.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	pool *x509.CertPool
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &signer{key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// issue gives a certificate and its key for names, both PEM. The serial tells certificates apart.
func (a *signer) issue(t *testing.T, serial int64, names ...string) (cert, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// tlsSecret is a TLS Secret.
func tlsSecret(namespace, name string, cert, key []byte) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: %s\n  tls.key: %s\n",
		name, namespace, base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
}

func httpsListener(name, host, secret string) string {
	hostname := ""
	if host != "" {
		hostname = fmt.Sprintf(", hostname: %q", host)
	}
	return fmt.Sprintf("- {name: %s, port: 443, protocol: HTTPS%s, tls: {certificateRefs: [%s]}}\n", name, hostname, secret)
}

// serialOf connects with a server name and returns the serial number of the certificate that verified, and the answer.
func serialOf(m *mesh.Mesh, pool *x509.CertPool, host string, http2 bool) (int64, mesh.Response, error) {
	got, err := m.Do(mesh.Request{Host: host, TLS: &tls.Config{RootCAs: pool}, HTTP2: http2})
	if err != nil {
		return 0, got, err
	}
	return got.TLS.PeerCertificates[0].SerialNumber.Int64(), got, nil
}

// TestGatewayTLS terminates TLS for several names on one port: each has its certificate and its routes, by HTTP/1.1 and 2.
func TestGatewayTLS(t *testing.T) {
	ca := newSigner(t)
	a := mesh.NewBackend(t, "a")
	manifests := gatewayYAML(httpsListener("exact", "a.example.com", "{name: exact}")+httpsListener("wild", "*.example.com", "{name: wild}")+
		httpsListener("any", "", "{name: any}")+"- {name: http, port: 80, protocol: HTTP}\n") + gatewayService("a", a)
	for i, s := range []struct{ name, host string }{{"exact", "a.example.com"}, {"wild", "*.example.com"}, {"any", "other.test"}} {
		cert, key := ca.issue(t, int64(i+1), s.host)
		manifests += tlsSecret("default", s.name, cert, key) +
			tagged("{name: edge, sectionName: "+s.name+"}", "default", s.name, "", "/")
	}
	m := mesh.Start(t, mesh.Options{Manifests: manifests})
	for i, c := range []struct{ host, rule string }{{"a.example.com", "exact"}, {"b.example.com", "wild"}, {"other.test", "any"}} {
		for _, http2 := range []bool{false, true} {
			serial, got, err := serialOf(m, ca.pool, c.host, http2)
			if err != nil {
				t.Fatal(err)
			}
			if serial != int64(i+1) || got.Header.Get("x-rule") != c.rule || got.Echo.Header.Get("x-forwarded-proto") != "https" {
				t.Errorf("%s (HTTP/2 %v): certificate %d, route %q, %+v", c.host, http2, serial, got.Header.Get("x-rule"), got.Echo.Header)
			}
			if want := map[bool]string{false: "", true: "h2"}[http2]; got.TLS.NegotiatedProtocol != want {
				t.Errorf("%s: protocol %q, want %q", c.host, got.TLS.NegotiatedProtocol, want)
			}
		}
	}
	// The connection's name has chosen the table: another host on it finds nothing there.
	got := m.MustDo(t, mesh.Request{Host: "b.example.com", TLS: &tls.Config{RootCAs: ca.pool, ServerName: "a.example.com"}})
	if got.Status != 404 && got.Status != 421 {
		t.Errorf("a host of another listener on the connection of a.example.com: %d from %q", got.Status, got.Header.Get("x-rule"))
	}
	if got := m.MustDo(t, mesh.Request{Host: "a.example.com"}); got.Status != 404 {
		t.Errorf("plaintext: %d", got.Status)
	}
	if _, err := m.Do(mesh.Request{Host: "a.example.com", TLS: &tls.Config{RootCAs: ca.pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

// TestGatewayCertificateRotation edits a Secret under load: every request is answered, and new connections get the new
// certificate. A Secret that becomes unusable takes its listener away and says so, while the other one on the port goes on.
func TestGatewayCertificateRotation(t *testing.T) {
	ca := newSigner(t)
	a := mesh.NewBackend(t, "a")
	other, otherKey := ca.issue(t, 9, "b.example.com")
	m := mesh.Start(t, mesh.Options{Manifests: gatewayYAML(httpsListener("https", "a.example.com", "{name: cert}")+httpsListener("other", "b.example.com", "{name: other}")) +
		gatewayService("a", a) + tlsSecret("default", "other", other, otherKey) + tagged("{name: edge}", "default", "all", "", "/")})
	m.WaitFinding(t, "Gateway default/edge", "Secret default/cert")
	if _, _, err := serialOf(m, ca.pool, "a.example.com", false); err == nil {
		t.Error("a listener without certificate took a connection")
	}
	var certs, keys [4][]byte
	for i := range certs {
		certs[i], keys[i] = ca.issue(t, int64(i), "a.example.com")
	}
	served := func(serial int64) {
		t.Helper()
		mesh.Eventually(t, func() error {
			if got, _, err := serialOf(m, ca.pool, "a.example.com", false); err != nil || got != serial {
				return fmt.Errorf("certificate %d (%v), want %d", got, err, serial)
			}
			return nil
		})
	}
	m.Apply("secret", tlsSecret("default", "cert", certs[1], keys[1]))
	served(1)
	m.WaitNoFinding(t, "Gateway default/edge")

	stop := tlsLoad(t, m, ca.pool, "a.example.com")
	m.Apply("secret", tlsSecret("default", "cert", certs[2], keys[2]))
	served(2)
	stop()
	stop = tlsLoad(t, m, ca.pool, "b.example.com")
	m.Apply("secret", tlsSecret("default", "cert", certs[3], keys[2])) // a key of another certificate
	m.WaitFinding(t, "Gateway default/edge", "private key does not match")
	mesh.Eventually(t, func() error {
		if _, _, err := serialOf(m, ca.pool, "a.example.com", false); err == nil {
			return errors.New("the listener still takes connections")
		}
		return nil
	})
	m.Apply("secret", tlsSecret("default", "cert", certs[3], keys[3]))
	served(3)
	m.WaitNoFinding(t, "Gateway default/edge")
	stop()
}

// tlsLoad sends requests on new connections, one after the other, until the function that it returns is called; that one
// fails t when a request failed.
func tlsLoad(t *testing.T, m *mesh.Mesh, pool *x509.CertPool, host string) func() {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var first error
		for n := 0; ; n++ {
			select {
			case <-stop:
				if n == 0 && first == nil {
					first = errors.New("no request was sent")
				}
				done <- first
				return
			default:
			}
			if _, got, err := serialOf(m, pool, host, true); first == nil && (err != nil || got.Status != 200) {
				first = fmt.Errorf("request %d: status %d, %w", n, got.Status, err)
			}
		}
	}()
	return func() {
		t.Helper()
		close(stop)
		if err := <-done; err != nil {
			t.Errorf("under load %s: %v", host, err)
		}
	}
}

// TestGatewayCertificateGrant takes a certificate from another namespace only while a ReferenceGrant allows it.
func TestGatewayCertificateGrant(t *testing.T) {
	ca := newSigner(t)
	cert, key := ca.issue(t, 7, "a.example.com")
	m := mesh.Start(t, mesh.Options{Manifests: gatewayYAML(httpsListener("https", "", "{name: cert, namespace: vault}")) + tlsSecret("vault", "cert", cert, key)})
	m.WaitFinding(t, "Gateway default/edge", "ReferenceGrant")
	if _, _, err := serialOf(m, ca.pool, "a.example.com", false); err == nil {
		t.Error("the certificate of another namespace is served without a grant")
	}
	m.Apply("grant", "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: vault}\n"+
		"spec:\n  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}]\n  to: [{group: '', kind: Secret}]\n")
	mesh.Eventually(t, func() error {
		serial, _, err := serialOf(m, ca.pool, "a.example.com", false)
		if err == nil && serial != 7 {
			err = fmt.Errorf("certificate %d", serial)
		}
		return err
	})
	m.Delete("grant")
	mesh.Eventually(t, func() error {
		if _, _, err := serialOf(m, ca.pool, "a.example.com", false); err == nil {
			return fmt.Errorf("the certificate is still served")
		}
		return nil
	})
}

// TestGatewayPassthrough sends TLS by its server name to backends that hold the certificates, as Istio's Gateway and
// VirtualService say it.
func TestGatewayPassthrough(t *testing.T) {
	ca := newSigner(t)
	backend := func(serial int64, name string) netip.AddrPort {
		cert, key := ca.issue(t, serial, name)
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		lis, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); greetTLS(lis, name) }()
		t.Cleanup(func() { _ = lis.Close(); <-done })
		return netip.MustParseAddrPort(lis.Addr().String())
	}
	manifests := mesh.Service{Name: "one", Port: 443, PortName: "tls"}.YAML(backend(1, "one.example.com")) +
		mesh.Service{Name: "two", Port: 443, PortName: "tls"}.YAML(backend(2, "x.two.example.com")) + `
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8443, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: ["*.example.com"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tls, namespace: default}
spec:
  hosts: ["*.example.com"]
  gateways: [tls]
  tls:
  - {match: [{port: 8443, sniHosts: [one.example.com]}], route: [{destination: {host: one}}]}
  - {match: [{port: 8443, sniHosts: ["*.two.example.com"]}], route: [{destination: {host: two}}]}
`
	m := mesh.Start(t, mesh.Options{Manifests: manifests})
	dial := func(name string) (string, error) {
		d := &net.Dialer{Timeout: 10 * time.Second}
		conn, err := tls.DialWithDialer(d, "tcp", netip.AddrPortFrom(m.Address, 8443).String(), &tls.Config{RootCAs: ca.pool, ServerName: name})
		if err != nil {
			return "", err
		}
		defer conn.Close()
		hello, err := io.ReadAll(conn)
		return string(hello), err
	}
	for _, name := range []string{"one.example.com", "x.two.example.com"} {
		mesh.Eventually(t, func() error {
			hello, err := dial(name)
			if err == nil && !strings.Contains(hello, name) {
				err = fmt.Errorf("%s was greeted by %q", name, hello)
			}
			return err
		})
	}
	if _, err := dial("three.example.com"); err == nil {
		t.Error("a server name without route was taken")
	}
}

// greetTLS says a name to each connection and closes it.
func greetTLS(lis net.Listener, name string) {
	for {
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "hello from "+name)
		_ = conn.Close()
	}
}
