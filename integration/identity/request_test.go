package identity_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// requests gives what asks a replica for a certificate by hand, into a folder.
func (w *world) requests(s *server, dir string) func(args ...string) (string, error) {
	w.Helper()
	roots := w.bundle()
	return func(args ...string) (string, error) {
		cmd := exec.CommandContext(w.Context(), filepath.Join(binaries, "fairlead"),
			append([]string{"cert", "request", s.tls, "--trust-bundle", roots, "--out", dir}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

// TestCertRequest gets a certificate by hand, as the README says, renews it by itself, and is refused with a token that has the
// wrong audience, by a server that is not the one it should be, and when the certificate has ended.
func TestCertRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, time.Minute)
	s := w.server()
	s.ready()
	w.pod("shop", "web-1", "web", "node-a")
	token := w.token("shop", "web-1", "web", "fairlead", "token")
	dir := filepath.Join(w.dir, "web")
	request := w.requests(s, dir)
	load := func() *x509svid.SVID {
		t.Helper()
		svid, err := x509svid.Load(filepath.Join(dir, "svid.pem"), filepath.Join(dir, "svid_key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if svid.ID.String() != webID {
			t.Fatalf("the certificate is of %s", svid.ID)
		}
		return svid
	}
	w.eventually("the server knows the pod", func() error {
		_, err := request("--token", token, "--ttl", "1h")
		return err
	})
	first := load()
	if left := time.Until(first.Certificates[0].NotAfter); left < 50*time.Minute || left > time.Hour {
		t.Errorf("it is valid for %s", left)
	}
	if info, err := os.Stat(filepath.Join(dir, "svid_key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	out, err := request("--svid", dir, "--ttl", "2s")
	if err != nil || !strings.Contains(out, webID) || !strings.Contains(out, "to a root") {
		t.Fatalf("renewal: %v: %s", err, out)
	}
	second := load()
	if second.Certificates[0].SerialNumber.Cmp(first.Certificates[0].SerialNumber) == 0 {
		t.Error("it was not renewed")
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"wrong audience": {[]string{"--token", w.token("shop", "web-1", "web", "bank", "bank-token")}, "Unauthenticated"},
		"another server": {[]string{"--token", token, "--server-id", "spiffe://cluster.local/ns/x/sa/y"}, "see --server-id"},
		"two credentials": {
			[]string{"--token", token, "--svid", dir}, "none of the others can be",
		},
	} {
		if out, err := request(c.args...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	w.eventually("the certificate ends", func() error {
		if end := second.Certificates[0].NotAfter; time.Now().Before(end) {
			return fmt.Errorf("not before %s", end)
		}
		return nil
	})
	if out, err := request("--svid", dir); err == nil || !strings.Contains(out, "it has ended at") {
		t.Errorf("an ended certificate: %v: %s", err, out)
	}
	if load().Certificates[0].SerialNumber.Cmp(second.Certificates[0].SerialNumber) != 0 {
		t.Error("a refused request has changed what is there")
	}
}
