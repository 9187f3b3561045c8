package control

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

// Whatever a control plane says, no pod gets an identity that is not its ServiceAccount's.
func TestParsePod(t *testing.T) {
	good := &nodev1.Workload{
		Uid: "u", Namespace: "shop", Name: "web-1", ServiceAccount: "web", Node: "node-a", SpiffeId: td + "/ns/shop/sa/web", HostNetwork: true,
	}
	p, has, err := parsePod("u", "node-a", good)
	if err != nil || !has || p.UID != "u" || p.Name != "web-1" || p.Namespace != "shop" || p.ServiceAccount != "web" || p.ID.String() != good.GetSpiffeId() {
		t.Fatalf("%+v, %v, %v", p, has, err)
	}
	for name, c := range map[string]struct {
		change func(*nodev1.Workload)
		want   string // in the error; empty is no identity
	}{
		"no UID":                   {func(w *nodev1.Workload) { w.Uid = "" }, "its name must be its UID"},
		"another UID":              {func(w *nodev1.Workload) { w.Uid = "v" }, "its name must be its UID"},
		"another node":             {func(w *nodev1.Workload) { w.Node = "node-b" }, "runs on node"},
		"no identity":              {func(w *nodev1.Workload) { w.SpiffeId = "" }, ""},
		"no SPIFFE ID":             {func(w *nodev1.Workload) { w.SpiffeId = "web" }, "identity"},
		"of another namespace":     {func(w *nodev1.Workload) { w.SpiffeId = td + "/ns/bank/sa/web" }, "is not that of ServiceAccount"},
		"of another account":       {func(w *nodev1.Workload) { w.SpiffeId = td + "/ns/shop/sa/db" }, "is not that of ServiceAccount"},
		"a node's":                 {func(w *nodev1.Workload) { w.SpiffeId = nodetest.NodeID.String() }, "is not that of ServiceAccount"},
		"with more than a path":    {func(w *nodev1.Workload) { w.SpiffeId += "/x" }, "is not that of ServiceAccount"},
		"another account, same ID": {func(w *nodev1.Workload) { w.ServiceAccount = "db" }, "is not that of ServiceAccount"},
	} {
		w := proto.Clone(good).(*nodev1.Workload)
		c.change(w)
		_, has, err := parsePod("u", "node-a", w)
		if has || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want %q", name, has, err, c.want)
		}
	}
}

func TestParseBundle(t *testing.T) {
	good := nodetest.NewAuthority(t).Resource()
	b, err := parseBundle("cluster.local", good)
	if err != nil || len(b.x509) != 1 || len(b.jwt) != len(good.GetJwtAuthorities()) || !b.local || b.signing == "" {
		t.Fatalf("%+v, %v", b, err)
	}
	for name, c := range map[string]struct {
		change func(*nodev1.TrustBundle)
		want   string
	}{
		"another name":       {func(b *nodev1.TrustBundle) { b.TrustDomain = "other.test" }, "its name must be that"},
		"no trust domain":    {func(b *nodev1.TrustBundle) { b.TrustDomain = "Not A Domain" }, "its name must be that"},
		"no certificate":     {func(b *nodev1.TrustBundle) { b.X509Authorities = [][]byte{[]byte("x")} }, "root 0"},
		"one of two":         {func(b *nodev1.TrustBundle) { b.X509Authorities = append(b.X509Authorities, []byte("x")) }, "root 1"},
		"local and empty":    {func(b *nodev1.TrustBundle) { b.X509Authorities = nil }, "no roots"},
		"foreign and empty":  {func(b *nodev1.TrustBundle) { b.X509Authorities, b.Local = nil, false }, ""},
		"a JWT key without":  {func(b *nodev1.TrustBundle) { b.JwtAuthorities = []*nodev1.JWTAuthority{{KeyId: "k"}} }, `JWT key "k"`},
		"a JWT key, no name": {func(b *nodev1.TrustBundle) { b.JwtAuthorities[0].KeyId = "" }, "it has no ID"},
	} {
		b := proto.Clone(good).(*nodev1.TrustBundle)
		if len(b.GetJwtAuthorities()) == 0 {
			t.Fatal("the authority has no JWT key")
		}
		c.change(b)
		if _, err := parseBundle("cluster.local", b); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Without the bundle of our own trust domain there is nothing; aliases are local, partners are not.
func TestJoin(t *testing.T) {
	of := func(name string, local bool) *bundle {
		return &bundle{td: spiffeid.RequireTrustDomainFromString(name), local: local, signing: "s-" + name}
	}
	if b := join(nodetest.Domain, map[string]*bundle{"partner.test": of("partner.test", false)}); b != nil {
		t.Errorf("without our own: %+v", b)
	}
	b := join(nodetest.Domain, map[string]*bundle{
		"partner.test": of("partner.test", false), "alias.test": of("alias.test", true), "cluster.local": of("cluster.local", true),
	})
	if len(b.Local) != 2 || b.Local[0] != nodetest.Domain || b.Local[1].Name() != "alias.test" || len(b.X509) != 3 || b.Signing != "s-cluster.local" {
		t.Errorf("%+v", b)
	}
}
