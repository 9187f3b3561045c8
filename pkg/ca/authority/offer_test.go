package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"
)

type pki struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newCA makes an authority that ends after some time, below parent or as a root.
func newCA(t *testing.T, name string, parent *pki, ends time.Duration) *pki {
	t.Helper()
	key, now := p256(t), time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ends),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	by := &pki{template, key}
	if parent != nil {
		by = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &pki{cert, key}
}

func (c *pki) mounted(roots ...*pki) Generation {
	g := Generation{ID: GenerationID(c.cert), Issuer: c.cert, Key: c.key, Source: Mounted}
	for _, r := range roots {
		g.Roots = append(g.Roots, r.cert)
	}
	return g
}

func TestOffer(t *testing.T) {
	const day = 24 * time.Hour
	r1, r2 := newCA(t, "r1", nil, 100*day), newCA(t, "r2", nil, 100*day)
	i1, i2, i3 := newCA(t, "i1", r1, day), newCA(t, "i2", r1, 30*day), newCA(t, "i3", r2, 30*day)
	one, two, other := i1.mounted(r1), i2.mounted(r1), i3.mounted(r2)
	offer := func(s State, g Generation, settled bool, at time.Duration) State {
		t.Helper()
		next, err := Offer(s, g, settled, time.Now().Add(at))
		if err != nil {
			t.Fatal(err)
		}
		if trusted := !sameSet(next.Roots(), s.Roots()); trusted && next.Sequence <= s.Sequence {
			t.Errorf("what is trusted changes, and the sequence is %d after %d", next.Sequence, s.Sequence)
		}
		return next
	}
	same := func(what string, a, b State) {
		t.Helper()
		if !Equal(a, b) {
			t.Errorf("%s: the state changes from\n%v to\n%v", what, a, b)
		}
	}
	first := offer(State{}, one, false, 0)
	if first.Signing != one.ID || len(first.JWT) != 1 {
		t.Fatalf("first: %v", first)
	}
	same("what is there", first, offer(first, one, true, 0))

	// The same root: it signs at once. A replica that still has the old files changes nothing, until that is what is wanted.
	second := offer(first, two, false, 0)
	if second.Signing != two.ID || !slices.Contains(second.Declined, one.ID) || second.Rotation.Stage != Stable {
		t.Fatalf("second: %v", second)
	}
	same("an old replica", second, offer(second, one, false, 0))
	back := offer(second, one, true, 0)
	if back.Signing != one.ID || slices.Contains(back.Declined, one.ID) || !slices.Contains(back.Declined, two.ID) {
		t.Errorf("back: %v", back)
	}
	if s := offer(second, two, false, 2*day); len(s.Generations) != 1 || slices.Contains(s.Declined, one.ID) {
		t.Errorf("a superseded generation that has ended: %v", s)
	}

	// Another root: trusted, and it does not sign.
	third := offer(second, other, false, 0)
	if g, ok := third.Generation(other.ID); third.Signing != two.ID || !ok || slices.Contains(third.Declined, g.ID) {
		t.Fatalf("third: %v", third)
	}
	rotating := third.Clone()
	rotating.Rotation = Rotation{Stage: Distributing, From: two.ID, To: other.ID}
	r4 := newCA(t, "r4", nil, day)
	same("one rotation after the other", rotating, offer(rotating, r4.mounted(r4), true, 0))
	// An intermediate of the root that signs takes its place in the rotation.
	five := newCA(t, "i5", r1, 30*day).mounted(r1)
	if s := offer(rotating, five, false, 0); s.Signing != five.ID || s.Rotation.From != five.ID || s.Rotation.To != other.ID {
		t.Errorf("an intermediate during a rotation: %v", s)
	}
	withdrawn := second.Clone()
	withdrawn.Declined = append(withdrawn.Declined, other.ID)
	same("what was withdrawn", withdrawn, offer(withdrawn, other, true, 0))
	same("the former files, not settled", withdrawn, offer(withdrawn, two, false, 0))
	former := offer(withdrawn, two, true, 0)
	if slices.Contains(former.Declined, other.ID) || !slices.Contains(former.Declined, one.ID) {
		t.Errorf("the former files for good: %v", former)
	}
	if s := offer(former, other, false, 0); len(s.Generations) != len(former.Generations)+1 {
		t.Errorf("what was withdrawn is mounted again, and not taken: %v", s)
	}

	// One more root of the same issuer is trusted at once, and ends when that has settled.
	more := offer(second, i2.mounted(r1, r2), false, 0)
	if len(more.Roots()) != 2 || more.Signing != two.ID {
		t.Errorf("one more root: %v", more)
	}
	same("one root less, not settled", more, offer(more, two, false, 0))
	if s := offer(more, two, true, 0); len(s.Roots()) != 1 {
		t.Errorf("one root less: %v", s)
	}
	// An added root alone is not the one that verifies what is signed: its issuers wait.
	if s := offer(more, other, false, 0); s.Signing != two.ID {
		t.Errorf("an issuer of the added root signs: %v", s)
	}
}
