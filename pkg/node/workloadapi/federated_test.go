package workloadapi

import (
	"bytes"
	"crypto/x509"
	"maps"
	"slices"
	"testing"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"

	"fairlead.io/fairlead/pkg/node/workloadapi/idtest"
)

// What comes with an SVID has the bundle of its own trust domain once, and those of all others apart (SPIFFE Workload API, 5.2.1).
func TestFederatedBundles(t *testing.T) {
	r := start(t)
	r.Set("a")
	other := idtest.New(t, "other.example").Distribute()
	next := func(s interface {
		Recv() (*workload.X509SVIDResponse, error)
	},
	) *workload.X509SVIDResponse {
		t.Helper()
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	stream, err := raw(t, r, "a").FetchX509SVID(headed(within(t), "true"), &workload.X509SVIDRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m := next(stream); len(m.FederatedBundles) != 0 || len(m.Svids[0].Bundle) == 0 {
		t.Errorf("alone: %v are federated, and the own bundle has %d bytes", slices.Collect(maps.Keys(m.FederatedBundles)), len(m.Svids[0].Bundle))
	}
	r.Federate("other.example", []*x509.Certificate{other})
	m := next(stream)
	if got := slices.Collect(maps.Keys(m.FederatedBundles)); !slices.Equal(got, []string{"spiffe://other.example"}) {
		t.Errorf("federated are %v", got)
	}
	if !bytes.Equal(m.FederatedBundles["spiffe://other.example"], other.Raw) || bytes.Contains(m.Svids[0].Bundle, other.Raw) {
		t.Error("the other trust domain's root is not in its own bundle alone")
	}
}
