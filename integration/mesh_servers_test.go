package integration_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/mesh"
)

// greeter runs a server that speaks first: "pod <n>\n", then echoes. It returns its port; a port of 0 lets the kernel choose.
func (m *meshRig) greeter(n, port int) int {
	m.t.Helper()
	l, err := net.Listen("tcp", m.ip(n)+":"+strconv.Itoa(port))
	if err != nil {
		m.t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				fmt.Fprintf(c, "pod %d\n", n)
				_, _ = io.Copy(c, c)
			})
		}
	})
	m.t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

// greeting connects to a VIP, reads who greets, and has a line echoed.
func (m *meshRig) greeting(q meshCall) (string, error) {
	if q.stub == "" {
		q.stub = "web"
	}
	d := &dialer{stub: m.stub(q.stub), to: q.to, from: q.from}
	c, err := d.DialContext(m.t.Context(), "", "")
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	who, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "ping\n"); err != nil {
		return "", err
	}
	if back, err := r.ReadString('\n'); err != nil || back != "ping\n" {
		return "", fmt.Errorf("echo %q: %w", back, err)
	}
	return strings.TrimSpace(who), nil
}

// greets polls until a pod greets; an empty name asks for a connection that is closed without a word.
func (m *meshRig) greets(t *testing.T, q meshCall, pod string) {
	t.Helper()
	until(t, fmt.Sprintf("%+v greets %q", q, pod), func() error {
		got, err := m.greeting(q)
		if pod == "" && err == nil {
			return fmt.Errorf("got %q", got)
		}
		if pod != "" && (err != nil || got != "pod "+pod) {
			return fmt.Errorf("got %q, %v", got, err)
		}
		return nil
	})
}

// authority issues the certificates of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a.cert, a.key, a.pem, _ = a.issue(template)
	return a
}

// issue signs by the authority's key, or by the template's own for the authority itself.
func (a *authority) issue(template *x509.Certificate) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// leaf is a certificate and key for names, as PEM.
func (a *authority) leaf(names ...string) (certPEM, keyPEM string) {
	_, _, certPEM, keyPEM = a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return certPEM, keyPEM
}

// tlsPod is pod n over TLS, at ip(n) and port (0: any). Where clients is set, they must show a certificate of it. The
// answers carry what the client did: x-sni, and x-client, its certificate's common name.
func (m *meshRig) tlsPod(n, port int, a, clients *authority, names ...string) int {
	m.t.Helper()
	certPEM, keyPEM := a.leaf(names...)
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		m.t.Fatal(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	if clients != nil {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		cfg.ClientCAs.AddCert(clients.cert)
	}
	l, err := net.Listen("tcp", m.ip(n)+":"+strconv.Itoa(port))
	if err != nil {
		m.t.Fatal(err)
	}
	u := mesh.NewHandler(strconv.Itoa(n))
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-sni", r.TLS.ServerName)
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("x-client", r.TLS.PeerCertificates[0].Subject.CommonName)
		}
		u.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(tls.NewListener(l, cfg)) }()
	m.t.Cleanup(func() { _ = s.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}

// secretYAML is an opaque Secret with the given data, "key", "value", …
func secretYAML(namespace, name string, data ...string) string {
	out := fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\ndata:\n", name, namespace)
	for i := 0; i < len(data); i += 2 {
		out += "  " + data[i] + ": " + base64.StdEncoding.EncodeToString([]byte(data[i+1])) + "\n"
	}
	return out
}

// tlsCall is one request over TLS that the client itself speaks, with a server name.
func (m *meshRig) tlsCall(to, sni string, roots *authority) (string, error) {
	c, err := m.dial("web", to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	pool := x509.NewCertPool()
	pool.AddCert(roots.cert)
	tc := tls.Client(c, &tls.Config{ServerName: sni, RootCAs: pool})
	if err := tc.HandshakeContext(m.t.Context()); err != nil {
		return "", err
	}
	return tc.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}
