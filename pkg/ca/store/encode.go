package store

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// format is the version of the document. A reader refuses what is newer than itself: it would lose what it does not know.
const format = 1

// document is a State as it is kept: JSON, with certificates and keys as PEM (keys PKCS #8).
type document struct {
	Format      int          `json:"format"`
	Revision    uint64       `json:"revision"`
	Sequence    uint64       `json:"sequence"`
	Signing     string       `json:"signing,omitempty"`
	Generations []generation `json:"generations"`
	JWT         []jwtKey     `json:"jwt"`
	Rotation    *rotation    `json:"rotation,omitempty"`
	Declined    []string     `json:"declined,omitempty"`
}

type generation struct {
	ID      string    `json:"id"`
	Source  string    `json:"source"`
	Created time.Time `json:"created"`
	Issuer  string    `json:"issuer"`
	Chain   string    `json:"chain,omitempty"`
	Roots   string    `json:"roots"`
	Key     string    `json:"key,omitempty"`
}

type jwtKey struct {
	ID        string    `json:"id"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	Key       string    `json:"key"`
}

type rotation struct {
	Stage   authority.Stage `json:"stage"`
	From    string          `json:"from"`
	To      string          `json:"to"`
	Started time.Time       `json:"started"`
	Since   time.Time       `json:"since"`
	Paused  bool            `json:"paused,omitempty"`
	Without []string        `json:"without,omitempty"`
	Retire  time.Time       `json:"retire,omitzero"`
}

// Encode writes a state, private keys included: where it goes must be for us alone.
func Encode(s authority.State) ([]byte, error) {
	d := document{Format: format, Revision: s.Revision, Sequence: s.Sequence, Signing: s.Signing, Declined: s.Declined}
	for _, g := range s.Generations {
		key, err := encodeKey(g.Key)
		if err != nil {
			return nil, fmt.Errorf("encode generation %s: %w", g.ID, err)
		}
		d.Generations = append(d.Generations, generation{
			ID: g.ID, Source: g.Source, Created: g.Created, Key: key,
			Issuer: encodeCertificates(g.Issuer), Chain: encodeCertificates(g.Chain...), Roots: encodeCertificates(g.Roots...),
		})
	}
	for _, k := range s.JWT {
		key, err := encodeKey(k.Key)
		if err != nil {
			return nil, fmt.Errorf("encode JWT key %s: %w", k.ID, err)
		}
		d.JWT = append(d.JWT, jwtKey{ID: k.ID, NotBefore: k.NotBefore, NotAfter: k.NotAfter, Key: key})
	}
	if r := rotation(s.Rotation); s.Rotation.Stage != authority.Stable {
		d.Rotation = &r
	}
	return json.MarshalIndent(d, "", "  ")
}

// Decode reads what Encode has written, strictly: an entry that is not what it says is an error that names it. Whether an
// authority has ended is not looked at, because only what can be read can be rotated; package authority refuses to sign with it.
func Decode(b []byte) (authority.State, error) {
	var d document
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	// The format comes first, because that of a newer one explains whatever else is strange.
	var f struct{ Format int }
	if err := json.Unmarshal(b, &f); err != nil {
		return authority.State{}, fmt.Errorf("decode authority: %w", redactSyntax(err))
	}
	if f.Format != format {
		return authority.State{}, fmt.Errorf("decode authority: format %d, and this version reads format %d", f.Format, format)
	}
	if err := dec.Decode(&d); err != nil {
		return authority.State{}, fmt.Errorf("decode authority: %w", redactSyntax(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return authority.State{}, errors.New("decode authority: more follows its end")
	}
	s, err := d.state()
	if err != nil {
		return authority.State{}, fmt.Errorf("decode authority: %w", err)
	}
	return s, nil
}

// redactSyntax keeps the words of the JSON decoder, which may quote what it read, out of an error.
func redactSyntax(err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("no JSON at byte %d", syntax.Offset)
	case errors.As(err, &typ):
		return fmt.Errorf("field %q: a %s was expected", typ.Field, typ.Type)
	}
	return errors.New("not the document that was written: a field is unknown or broken")
}

func (d document) state() (authority.State, error) {
	s := authority.State{Revision: d.Revision, Sequence: d.Sequence, Signing: d.Signing, Declined: d.Declined}
	for i, g := range d.Generations {
		gen, err := g.decode()
		if err != nil {
			return s, fmt.Errorf("generations[%d] (%s): %w", i, printable(g.ID), err)
		}
		if _, ok := s.Generation(gen.ID); ok {
			return s, fmt.Errorf("generations[%d] (%s): the ID is there twice", i, gen.ID)
		}
		s.Generations = append(s.Generations, gen)
	}
	if _, ok := s.Generation(d.Signing); !ok {
		return s, fmt.Errorf("signing: there is no generation %s", printable(d.Signing))
	}
	ids := map[string]bool{}
	for i, k := range d.JWT {
		key, err := k.decode()
		if err == nil && ids[k.ID] {
			err = errors.New("the ID is there twice")
		}
		if err != nil {
			return s, fmt.Errorf("jwt[%d] (%s): %w", i, printable(k.ID), err)
		}
		ids[k.ID] = true
		s.JWT = append(s.JWT, key)
	}
	if d.Rotation != nil {
		s.Rotation = authority.Rotation(*d.Rotation)
		if err := checkRotation(s); err != nil {
			return s, fmt.Errorf("rotation: %w", err)
		}
	}
	return s, nil
}

func checkRotation(s authority.State) error {
	switch r := s.Rotation; r.Stage {
	case authority.Distributing, authority.Retiring, authority.Withdrawing:
		for _, id := range []string{r.From, r.To} {
			if _, ok := s.Generation(id); !ok {
				return fmt.Errorf("there is no generation %s", printable(id))
			}
		}
		return nil
	default:
		return fmt.Errorf("unknown stage %s", printable(string(r.Stage)))
	}
}

func (g generation) decode() (authority.Generation, error) {
	out := authority.Generation{ID: g.ID, Source: g.Source, Created: g.Created}
	issuer, err := decodeCertificates([]byte(g.Issuer))
	switch {
	case err != nil:
		return out, fmt.Errorf("issuer: %w", err)
	case len(issuer) != 1:
		return out, fmt.Errorf("issuer: %d certificates, one was expected", len(issuer))
	}
	out.Issuer = issuer[0]
	if out.Chain, err = decodeCertificates([]byte(g.Chain)); err != nil {
		return out, fmt.Errorf("chain: %w", err)
	}
	if out.Roots, err = decodeCertificates([]byte(g.Roots)); err != nil {
		return out, fmt.Errorf("roots: %w", err)
	}
	if len(out.Roots) == 0 {
		return out, errors.New("roots: there is none")
	}
	if g.Key != "" {
		if out.Key, err = decodeKey([]byte(g.Key)); err != nil {
			return out, fmt.Errorf("key: %w", err)
		}
	}
	if g.Source != authority.Generated && g.Source != authority.Mounted {
		return out, fmt.Errorf("unknown source %s", printable(g.Source))
	}
	return out, out.Check()
}

func (k jwtKey) decode() (authority.JWTKey, error) {
	out := authority.JWTKey{ID: k.ID, NotBefore: k.NotBefore, NotAfter: k.NotAfter}
	if k.ID == "" {
		return out, errors.New("it has no ID")
	}
	key, err := decodeKey([]byte(k.Key))
	if err != nil {
		return out, fmt.Errorf("key: %w", err)
	}
	ec, ok := key.Public().(*ecdsa.PublicKey)
	if !ok || ec.Curve.Params().BitSize != 256 {
		return out, errors.New("key: no ECDSA P-256")
	}
	out.Key = key
	return out, nil
}

func encodeCertificates(list ...*x509.Certificate) string {
	var b bytes.Buffer
	for _, c := range list {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes everything
	}
	return b.String()
}

// decodeCertificates reads PEM that has certificates and nothing else but text between them.
func decodeCertificates(b []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block that is no certificate: %s", printable(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
	if bytes.Contains(b, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("broken PEM after certificate %d", len(list))
	}
	return list, nil
}

func encodeKey(key crypto.Signer) (string, error) {
	if key == nil {
		return "", nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(authority.Unseal(key))
	if err != nil {
		return "", errors.New("encode private key: it is of a type that cannot be kept")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// decodeKey reads one private key: PKCS #8, or the older forms of RSA and ECDSA. Errors say nothing of what it holds.
func decodeKey(b []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(b)
	for block != nil && block.Type == "EC PARAMETERS" { // what "openssl ecparam -genkey" writes before the key
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("no PEM")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("more than one PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block that is no private key: %s (an encrypted key must be decrypted first)", printable(block.Type))
	}
	if err != nil {
		return nil, errors.New("a private key that cannot be parsed")
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return authority.Seal(k), nil
	case ed25519.PrivateKey:
		return authority.Seal(k), nil
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("RSA of %d bits: at least 2048 are needed", k.N.BitLen())
		}
		return authority.Seal(k), nil
	}
	return nil, errors.New("a private key that cannot sign")
}

// printable quotes what was read for an error, cut to what a person looks at.
func printable(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return fmt.Sprintf("%q", s)
}
