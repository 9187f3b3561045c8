package integration_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.io/fairlead/integration/randomroute"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

// TestRandomRoutes gives a real Envoy tables of routes that nobody would write. It must take every one: validation by the
// protobuf rules, which the fuzzer of pkg/translate covers, is not all that Envoy checks.
func TestRandomRoutes(t *testing.T) {
	const tables, routes = 40, 50
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	r := newPushRig(t)
	var put []*snapshot.Resource
	whole := 0
	for i := range tables {
		name := fmt.Sprint("gateway/", i)
		var hosts []*routev3.VirtualHost
		for j := range routes {
			v := &model.VirtualHost{Config: name, Host: fmt.Sprint(j), Domains: []string{fmt.Sprint(j, ".test")}}
			v.Routes = []model.Route{randomroute.Route(random)}
			if translate.CheckRoute(&v.Routes[0]) == nil {
				whole++
			}
			hosts = append(hosts, translate.VirtualHost(v))
		}
		put = append(put, encoded(t, name, translate.RouteConfiguration(name, hosts)),
			rigListener(t, name, translate.HCM(translate.HCMOptions{StatPrefix: "random", RouteConfig: name})))
	}
	if whole < tables*routes/4 {
		t.Errorf("seed %d: only %d of %d routes can be expressed, too few to prove much", seed, whole, tables*routes)
	}
	r.update(put)
	r.settled()
	n, _, err := r.envoy.UpdateRejected()
	if err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("seed %d: Envoy refused %d updates", seed, n)
	}
}
