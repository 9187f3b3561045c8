package identity_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"fairlead.io/fairlead/pkg/ca/rotate"
)

// TestTrustDomainIsRenamed gives a mesh another trust domain while a workload holds a certificate of the old one. With the old name
// as an alias an Envoy believes that certificate, its holder gets one of the new name with it, and a rotation replaces the
// authority that has the old name.
func TestTrustDomainIsRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, time.Minute)
	const old = "spiffe://old.example"
	s := w.server("--trust-domain=old.example")
	s.ready()
	w.pod("shop", "client-1", "client", "node-b")
	dir := filepath.Join(w.dir, "client")
	request := w.requests(s, dir)
	held := func() *x509svid.SVID {
		t.Helper()
		svid, err := x509svid.Load(filepath.Join(dir, "svid.pem"), filepath.Join(dir, "svid_key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return svid
	}
	token := w.token("shop", "client-1", "client", "fairlead", "token")
	w.eventually("a certificate of the old name", func() error {
		out, err := request("--token", token, "--ttl=1h", "--server-id="+old+"/ns/fairlead-system/sa/fairlead")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	client := held()
	if client.ID.String() != old+"/ns/shop/sa/client" {
		t.Fatalf("the certificate is of %s", client.ID)
	}

	s.stop()
	s.args = append(slices.DeleteFunc(s.args, func(a string) bool { return strings.HasPrefix(a, "--trust-domain=") }),
		"--trust-domain=cluster.local", "--trust-domain-alias=old.example")
	s.start()
	s.ready()
	a := w.agent("node-a")
	w.pod("shop", "web-1", "web", "node-a")
	a.ready(webID)
	_, port := w.inbound(a, client.ID.String())
	td := spiffeid.RequireTrustDomainFromString("cluster.local")
	get := func() error {
		conf := tlsconfig.MTLSClientConfig(client, x509bundle.FromX509Authorities(td, w.roots()), tlsconfig.AuthorizeID(spiffeid.RequireFromString(webID)))
		c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: conf}}
		res, err := c.Get(fmt.Sprintf("https://127.0.0.1:%d/", port))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "web" {
			return fmt.Errorf("%s %q: %w", res.Status, body, err)
		}
		return nil
	}
	w.eventually("an Envoy believes the certificate of the old name", get)

	s.must("rotate")
	st := s.until("Retiring", "")
	if i := slices.IndexFunc(st.Authorities, func(a rotate.Issuer) bool { return a.Signs }); !strings.HasPrefix(st.Authorities[i].Subject, "CN=cluster.local ") {
		t.Errorf("%+v signs: it has the old name still", st.Authorities[i])
	}
	w.eventually("it does so when an authority of the new name signs", get)
	w.bundle() // the kubelet brings the ConfigMap, with both roots
	if out, err := request("--svid", dir); err != nil {
		t.Fatalf("renewal with the certificate of the old name: %v: %s", err, out)
	}
	if id := held().ID.String(); id != clientID {
		t.Errorf("renewed is %s, want %s", id, clientID)
	}
}
