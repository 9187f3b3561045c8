package control

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Trust is what servers are verified with: where the agent starts from, and then the bundle that it has been sent. There is no
// trust on first use.
type Trust struct {
	// file has PEM certificates and is read at each use, so that a mounted ConfigMap may change.
	file string
	// pin is the SHA-256 of a root certificate, which the server then shows in its chain.
	pin []byte

	received atomic.Pointer[[]*x509.Certificate]
}

// ErrNoTrust says that there is nothing to verify a server with.
var ErrNoTrust = errors.New("nothing says which control plane to trust: give its roots with --trust-bundle=FILE, or one root's hash with --trust-hash=sha256:HEX")

// NewTrust takes a file of PEM certificates or "sha256:" and the hex digest of a root certificate's DER; one of them, or both.
func NewTrust(file, hash string) (*Trust, error) {
	t := &Trust{file: file}
	if file == "" && hash == "" {
		return nil, ErrNoTrust
	}
	if file != "" {
		if _, err := t.roots(); err != nil {
			return nil, err
		}
	}
	if hash != "" {
		digest, ok := strings.CutPrefix(hash, "sha256:")
		pin, err := hex.DecodeString(digest)
		if !ok || err != nil || len(pin) != sha256.Size {
			return nil, fmt.Errorf("trust hash %q is not sha256: and 64 hex digits; `openssl x509 -in root.pem -outform DER | sha256sum` prints them", hash)
		}
		t.pin = pin
	}
	return t, nil
}

// Receive takes the roots of the server's trust domain that were received over a verified connection.
func (t *Trust) Receive(roots []*x509.Certificate) { t.received.Store(&roots) }

func (t *Trust) roots() ([]*x509.Certificate, error) {
	data, err := os.ReadFile(t.file)
	if err != nil {
		return nil, fmt.Errorf("read trust bundle: %w", err)
	}
	var out []*x509.Certificate
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read trust bundle %s: %w", t.file, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read trust bundle %s: no PEM certificate is in it", t.file)
	}
	return out, nil
}

// verify gives the check of a server's chain: a SPIFFE X.509-SVID of exactly this identity. The roots that were received
// count, and those of the file as it is now, which an operator may change to bring back a node that has missed a rotation.
// The pinned root counts until the first roots have been received.
func (t *Trust) verify(id spiffeid.ID) func([][]byte, [][]*x509.Certificate) error {
	return func(raw [][]byte, _ [][]*x509.Certificate) error {
		bundle := x509bundle.New(id.TrustDomain())
		var missing error
		if r := t.received.Load(); r != nil {
			for _, c := range *r {
				bundle.AddX509Authority(c)
			}
		} else if t.pin != nil {
			if root := pinned(raw, t.pin); root != nil {
				bundle.AddX509Authority(root)
			} else {
				missing = errors.New("its chain does not hold the root that --trust-hash names")
			}
		}
		if t.file != "" {
			roots, err := t.roots()
			missing = errors.Join(missing, err)
			for _, c := range roots {
				bundle.AddX509Authority(c)
			}
		}
		if bundle.Empty() {
			return fmt.Errorf("verify server: nothing to verify it with: %w; %s", missing, t.remedy())
		}
		got, _, err := x509svid.ParseAndVerify(raw, bundle)
		if err != nil {
			return fmt.Errorf("verify server: %w; %s", errors.Join(err, missing), t.remedy())
		}
		if got != id {
			return fmt.Errorf("verify server: it is %s, not %s; see --server-id", got, id)
		}
		return nil
	}
}

// remedy is what an operator does for a node that has missed a rotation, once it is sure that the server is no impostor.
func (t *Trust) remedy() string {
	if t.file != "" {
		return "if the authority was rotated while this node was away, bring the present roots into " + t.file + " (--trust-bundle): it is read again at the next try"
	}
	return "if the authority was rotated while this node was away, start the agent with the --trust-hash of the present root, or with --trust-bundle"
}

// pinned finds the root of that hash in a chain.
func pinned(raw [][]byte, pin []byte) *x509.Certificate {
	for _, der := range raw {
		if sum := sha256.Sum256(der); string(sum[:]) != string(pin) {
			continue
		}
		if c, err := x509.ParseCertificate(der); err == nil && c.IsCA {
			return c
		}
	}
	return nil
}
