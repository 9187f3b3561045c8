package resolve

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
)

// oraclePool are variants of objects that refer to each other in every way there is. Each object is absent at first.
func oraclePool(t *testing.T) []string {
	pool := strings.Split(apiBase+"\n---\n"+tlsObjects(t), "\n---\n")
	for _, labels := range []string{"{}", "{team: a}"} {
		for _, ns := range []string{"shop", "far"} {
			pool = append(pool, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: %s}}", ns, labels))
		}
	}
	for _, l := range []string{
		plainGateway, manyListeners, "addresses: [{value: 127.0.0.2}, {value: '::1'}]\n" + plainGateway,
		"listeners: [{name: https, port: 443, protocol: HTTPS, hostname: '*.example', tls: {certificateRefs: [{name: cert}]}}, {name: far, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert, namespace: far}]}}]",
		"tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca, namespace: far}]}}}}\nlisteners: [{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}]",
		"listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}]",
	} {
		pool = append(pool, gatewayOf(l))
	}
	for _, ns := range []string{"shop", "far"} {
		for i, parents := range []string{"[{name: gw, namespace: shop}]", "[{name: gw, namespace: shop, port: 443}, {name: gone}]", "[{group: '', kind: Service, name: web, namespace: shop}]"} {
			for _, backend := range []string{"{name: web, namespace: shop, port: 80}", "{name: data, namespace: far, port: 80}", "{name: none, port: 80}"} {
				pool = append(pool, routeOf(ns, fmt.Sprintf("r%d", i), "parentRefs: "+parents+"\nrules: [{backendRefs: ["+backend+"]}, {matches: [{path: {value: /x}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: a.b}}]}]"))
			}
		}
	}
	for _, from := range []string{"HTTPRoute, namespace: shop", "HTTPRoute, namespace: far", "Gateway, namespace: shop"} {
		for _, to := range []string{"Service", "Secret", "ConfigMap", "Service, name: data"} {
			pool = append(pool, fmt.Sprintf("{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: %s}, spec: {from: [{group: gateway.networking.k8s.io, kind: %s}], to: [{group: '', kind: %s}]}}",
				map[bool]string{true: "shop", false: "far"}[strings.HasSuffix(from, "far")], from, to))
		}
	}
	return pool
}

// Whatever the order of events, the tables are what they would be if the world had been read at once.
func TestAPIOracle(t *testing.T) {
	var pool []source.Update
	files := convert.NewFiles(nil)
	for i, m := range oraclePool(t) {
		r := files.Convert(fmt.Sprintf("%d.yaml", i), []byte(m))
		if len(r.Problems) > 0 {
			t.Fatalf("%s in %s", r.Problems[0].Message, m)
		}
		for _, o := range r.Objects {
			o.Meta.Created = time.Unix(int64(i%3), 0)
			pool = append(pool, source.Update{Ref: o.Ref, Object: o.Object})
		}
	}
	tables := []string{"gatewayclass status", "gateways resolved", "gateway parents", "httproutes resolved", "gateway status"}
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := newAPIWorldEmpty(t)
		world := map[model.Ref]source.Update{}
		for step := range 60 {
			var burst []source.Update
			for range 1 + rnd.IntN(4) {
				u := pool[rnd.IntN(len(pool))]
				if rnd.IntN(4) == 0 {
					u.Object = nil
				}
				burst = append(burst, u)
				world[u.Ref] = u
			}
			w.e.Apply(w.in.Batch(burst, 0))
			if step%10 != 9 {
				continue
			}
			fresh := newAPIWorldEmpty(t)
			var all []source.Update
			for _, u := range world {
				all = append(all, u)
			}
			fresh.e.Apply(fresh.in.Batch(all, 0))
			for _, table := range tables {
				got, _ := w.e.Dump(table)
				want, _ := fresh.e.Dump(table)
				if d := cmp.Diff(want, got, cmp.Exporter(exportAll)); d != "" {
					t.Fatalf("seed %d, step %d: table %q (-from scratch +incremental):\n%s", seed, step, table, d)
				}
			}
		}
	}
}
