package issue

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	istio "istio.io/api/security/v1alpha1"

	"fairlead.io/fairlead/pkg/ca"
)

// FuzzImpersonated has strangers name the identity that they want: a node gets what a pod on it has, and nothing else.
func FuzzImpersonated(f *testing.F) {
	for _, s := range []string{
		"", "spiffe://cluster.local/ns/shop/sa/web", "spiffe://old.example/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/bank",
		"spiffe://cluster.local/node/n1/11111111-aaaa", "spiffe://cluster.local/ns/shop/sa/web/", "spiffe://cluster.local/ns/shop/../shop/sa/web",
		"SPIFFE://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/web%00", "spiffe://cluster.local/ns/shop%2fsa%2fweb/sa/x", "spiffe://cluster.local/ns//sa/",
		"spiffe://cluster.local@evil.example/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/gateway/front", "spiffe://cluster.local/ns/shop/sa/web\x00",
	} {
		f.Add(s)
	}
	s := &Service{cfg: Config{TrustDomain: td, Directory: newWorld()}}
	s.cfg.Aliases = append(s.cfg.Aliases, alias)
	node := s.grants(&ca.Caller{Kind: ca.Node, Node: ca.NodeRef{Name: "n1", UID: uidN1}})
	pod := s.grants(&ca.Caller{Kind: ca.Workload, Pod: &web1.PodRef})
	allowed := map[string]bool{"/ns/shop/sa/web": true, "/ns/fairlead-system/sa/fairlead-node": true}
	f.Fuzz(func(t *testing.T, want string) {
		if _, r := pod.impersonated(want); r == nil {
			t.Fatalf("a pod may have %q", want)
		}
		to, r := node.impersonated(want)
		if r != nil {
			if r.reason == "" || len(r.message) == 0 || strings.Contains(r.message, want) && want != "" && len(want) > 8 {
				t.Fatalf("refused as %+v", r)
			}
			return
		}
		if !to.id.MemberOf(td) || !allowed[to.id.Path()] || !strings.HasSuffix(want, to.id.Path()) {
			t.Fatalf("%q gets %s", want, to.id)
		}
	})
}

// FuzzIstioRequest has strangers send any message for a request of Istio's: reading it does not panic.
func FuzzIstioRequest(f *testing.F) {
	raw, err := proto.Marshal(impersonating(f, "spiffe://cluster.local/ns/shop/sa/web"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte("\x1a\x20\x0a\x1e\x0a\x14ImpersonatedIdentity\x12\x06\x32\x04\x0a\x02\x1a\x00"))
	f.Add([]byte{0x1a, 0x00})
	s := &Service{cfg: Config{TrustDomain: td, Directory: newWorld()}}
	node := s.grants(&ca.Caller{Kind: ca.Node, Node: ca.NodeRef{Name: "n1", UID: uidN1}})
	f.Fuzz(func(t *testing.T, raw []byte) {
		q := &istio.IstioCertificateRequest{}
		if proto.Unmarshal(raw, q) != nil {
			return
		}
		if field, ok := q.GetMetadata().GetFields()[impersonatedIdentity]; ok {
			_, _ = node.impersonated(field.GetStringValue())
		}
	})
}
