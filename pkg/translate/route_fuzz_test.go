package translate_test

import (
	"math/rand/v2"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/integration/randomroute"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/translate"
)

// FuzzRoute: whatever a route says, what is written passes Envoy's validation, can be sent, and is the same every time.
func FuzzRoute(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		seed := make([]byte, 600)
		for i := range seed {
			seed[i] = byte(random.UintN(256))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		source := randomroute.Bytes(data)
		r := randomroute.Route(&source)
		one, err := translate.Route(&r), translate.CheckRoute(&r)
		if one == nil {
			if err == nil {
				t.Fatalf("left out without a reason: %+v", r)
			}
			return
		}
		expectValid(t, one)
		if failed := one.GetDirectResponse().GetStatus() == 500; err != nil && !failed {
			t.Fatalf("%v, yet it does something: %v", err, one)
		}
		host := &model.VirtualHost{Config: "c", Host: "h", Domains: []string{"h", "H", ""}, Routes: []model.Route{r, r}}
		table := func() []byte {
			m := translate.RouteConfiguration("c", []*routev3.VirtualHost{translate.VirtualHost(host)})
			if err := m.ValidateAll(); err != nil {
				t.Fatal(err)
			}
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		first, second := table(), table()
		if string(first) != string(second) {
			t.Fatal("two translations differ")
		}
	})
}

func expectValid(t *testing.T, r *routev3.Route) {
	t.Helper()
	if err := r.ValidateAll(); err != nil {
		t.Fatalf("%v of %v", err, r)
	}
	if _, err := proto.Marshal(r); err != nil {
		t.Fatal(err)
	}
	for name, config := range r.GetTypedPerFilterConfig() {
		var cors corsv3.CorsPolicy
		var fault faultv3.HTTPFault
		switch {
		case config.MessageIs(&cors):
			if err := config.UnmarshalTo(&cors); err != nil || cors.ValidateAll() != nil {
				t.Fatalf("%s: %v %v", name, err, cors.ValidateAll())
			}
		case config.MessageIs(&fault):
			if err := config.UnmarshalTo(&fault); err != nil || fault.ValidateAll() != nil {
				t.Fatalf("%s: %v %v", name, err, fault.ValidateAll())
			}
		default:
			t.Fatalf("unknown configuration of %s", name)
		}
	}
}
