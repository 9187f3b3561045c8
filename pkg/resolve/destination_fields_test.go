package resolve_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// fieldKind is one kind whose fields are walked: objects that between them set every field that is obeyed, and for each
// field that is not, an object that has it. A field that neither has fails the test.
type fieldKind struct {
	spec    any
	full    []string          // specs; taking any field away changes what Envoy gets, for at least one of them
	refused map[string]string // field → spec that sets it; a condition names the field
}

func TestEveryFieldIsHonouredOrRefused(t *testing.T) {
	for kind, k := range map[string]fieldKind{"DestinationRule": ruleFields, "ServiceEntry": entryFields, "WorkloadEntry": workloadFields} {
		t.Run(kind, func(t *testing.T) {
			honoured := map[string]bool{}
			for _, full := range k.full {
				for path, changed := range honouredFields(t, kind, full, k.spec) {
					honoured[path] = honoured[path] || changed
				}
			}
			for _, path := range fieldPaths(reflect.TypeOf(k.spec), "spec") {
				spec, refused := k.refused[path]
				switch {
				case refused && honoured[path]:
					t.Errorf("%s is said to be refused, and has an effect", path)
				case refused:
					wantNamed(t, kind, path, spec)
				case !honoured[path]:
					t.Errorf("%s has no effect in any full object, and is not in the refused list", path)
				}
			}
		})
	}
}

// fieldPaths lists the leaves of a type by their path. The policies of subsets and ports have the fields of the policy of
// the host, and are not listed again.
func fieldPaths(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return []string{path}
	}
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if path == "spec.subsets" && name == "trafficPolicy" || strings.HasSuffix(path, "portLevelSettings") && name != "port" {
			out = append(out, path+"."+name)
			continue
		}
		out = append(out, fieldPaths(f.Type, path+"."+name)...)
	}
	return out
}

// honouredFields takes each field of an object away and tells whether what Envoy gets differs.
func honouredFields(t *testing.T, kind, spec string, into any) map[string]bool {
	fresh := func() reflect.Value {
		v := reflect.New(reflect.TypeOf(into))
		if err := yaml.UnmarshalStrict([]byte(spec), v.Interface()); err != nil {
			t.Fatalf("%v in\n%s", err, spec)
		}
		return v
	}
	whole := outcome(t, kind, fresh().Interface())
	out := map[string]bool{}
	n := 0
	visit(fresh().Elem(), "spec", func(string, reflect.Value) { n++ })
	for i := range n {
		v, at, path := fresh(), 0, ""
		visit(v.Elem(), "spec", func(p string, f reflect.Value) {
			if at == i {
				path = p
				f.SetZero()
			}
			at++
		})
		out[path] = out[path] || outcome(t, kind, v.Interface()) != whole
	}
	return out
}

// visit calls fn for each leaf that is set, by its path without indexes.
func visit(v reflect.Value, path string, fn func(string, reflect.Value)) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil() && v.Type().Elem().Kind() == reflect.Struct:
		visit(v.Elem(), path, fn)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			visit(v.Index(i), path, fn)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if path == "spec.subsets" && name == "trafficPolicy" || strings.HasSuffix(path, "portLevelSettings") && name != "port" {
				fn(path+"."+name, v.Field(i))
				continue
			}
			visit(v.Field(i), path+"."+name, fn)
		}
	default:
		if !v.IsZero() {
			fn(path, v)
		}
	}
}

// outcome is what a world with the object gives to the translation.
func outcome(t *testing.T, kind string, spec any) string {
	d := newDestinations(t, fieldWorld, manifest(t, kind, spec))
	var b strings.Builder
	snap := d.engine.Snapshot()
	write := func(k string, v any) {
		js, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, k, string(js))
	}
	d.hosts.Range(snap, func(k string, v *model.Host) bool {
		write(k, []any{v.ExportTo, v.Addresses, v.External, v.SubjectAltNames})
		return true
	})
	d.clusters.Range(snap, func(k string, v *model.Cluster) bool {
		v2 := *v
		v2.Origins = nil
		write(k, v2)
		return true
	})
	d.endpoints.Range(snap, func(k string, v *model.ClusterEndpoints) bool { write(k, []any{v.Endpoints, v.Locality}); return true })
	return b.String()
}

func manifest(t *testing.T, kind string, spec any) string {
	js, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return "apiVersion: networking.istio.io/v1\nkind: " + kind + "\nmetadata: {name: it, namespace: prod}\nspec: " + string(js)
}

// wantNamed asserts that a condition names a field which has no effect.
func wantNamed(t *testing.T, kind, path, spec string) {
	t.Helper()
	d := newDestinations(t, fieldWorld, "apiVersion: networking.istio.io/v1\nkind: "+kind+"\nmetadata: {name: it, namespace: prod}\nspec: "+spec)
	out := d.rules
	switch kind {
	case "ServiceEntry":
		out = d.entries
	case "WorkloadEntry":
		out = d.workloads
	}
	s, _ := out.Get(d.engine.Snapshot(), "prod/it@istio")
	if s == nil || !slices.ContainsFunc(s.Conditions, func(c model.Condition) bool {
		return c.Path != "" && strings.HasPrefix(path, plainPath(c.Path)) && (c.Warning || !c.Status)
	}) {
		t.Errorf("%s is not named: %+v", path, s)
	}
}

// plainPath is a path without indexes.
func plainPath(p string) string {
	for {
		i := strings.IndexByte(p, '[')
		j := strings.IndexByte(p, ']')
		if i < 0 || j < i {
			return p
		}
		p = p[:i] + p[j+1:]
	}
}

var fieldWorld = reviews + "---" + reviewsSlice + "---" + reviewsPods + `
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vms, namespace: prod}
spec:
  hosts: [vms.test]
  resolution: STATIC
  ports: [{number: 80, name: http}]
  workloadSelector: {labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: vms, namespace: prod}
spec: {host: vms.test, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: inline, namespace: prod}
spec: {host: inline.test, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: anchor, namespace: prod}
spec: {address: 192.0.2.100, labels: {app: vm}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca, namespace: prod}
data:
  ca.crt: |
` + indented(testCA)

var workloadFields = fieldKind{
	spec: v1alpha1.WorkloadEntrySpec{},
	full: []string{`{address: 192.0.2.1, labels: {app: vm, version: v1}, ports: {http: 8080}, locality: r/z/s, weight: 3}`},
	refused: map[string]string{
		"spec.network":        `{address: 192.0.2.1, labels: {app: vm}, network: n2}`,
		"spec.serviceAccount": `{address: 192.0.2.1, labels: {app: vm}, serviceAccount: sa}`,
	},
}

var entryFields = fieldKind{
	spec: v1alpha1.ServiceEntrySpec{},
	full: []string{
		`{hosts: [x.test], addresses: [240.0.0.1], ports: [{number: 80, name: http, targetPort: 8080}, {number: 81, name: x, protocol: GRPC}],
		  location: MESH_INTERNAL, resolution: STATIC, exportTo: [prod], subjectAltNames: [x.test],
		  endpoints: [{address: 192.0.2.1, ports: {x: 9}, locality: r/z, weight: 2}, {address: 192.0.2.2}]}`,
		`{hosts: [x.test], ports: [{number: 80, name: http}], resolution: STATIC, workloadSelector: {labels: {app: vm}}}`,
		`{hosts: [inline.test], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: 192.0.2.7, labels: {version: v1}}]}`,
	},
	refused: map[string]string{
		"spec.endpoints.network":        `{hosts: [x.test], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: 192.0.2.1, network: n2}]}`,
		"spec.endpoints.serviceAccount": `{hosts: [x.test], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: 192.0.2.1, serviceAccount: sa}]}`,
	},
}

var ruleFields = fieldKind{
	spec: v1alpha1.DestinationRuleSpec{},
	full: []string{
		`{host: reviews, trafficPolicy: {
		  loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 10s, minimumPercent: 20, aggression: 2},
		    localityLbSetting: {distribute: [{from: r/*, to: {r/z1: 80, r/z2: 20}}]}},
		  connectionPool: {
		    tcp: {maxConnections: 1, connectTimeout: 1s, maxConnectionDuration: 1m, idleTimeout: 2m, tcpKeepalive: {probes: 3, time: 10s, interval: 5s}},
		    http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRequestsPerConnection: 4, maxRetries: 5, idleTimeout: 3m, useClientProtocol: true,
		      maxConcurrentStreams: 7, http2KeepAlive: {interval: 10s, timeout: 2s}}},
		  outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, consecutiveGatewayErrors: 3, consecutive5xxErrors: 4,
		    interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50, minHealthPercent: 30, outlierDetectionHttpErrorCodes: [429]},
		  tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, sni: x.test, subjectAltNames: [y.test], caCrl: /crl},
		  proxyProtocol: {version: V2},
		  retryBudget: {percent: 30, minRetryConcurrency: 4, budgetInterval: 1s},
		  portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 9}},
		    outlierDetection: {consecutive5xxErrors: 9}, tls: {mode: SIMPLE, sni: port.test}}]},
		 subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]}`,
		`{host: reviews, trafficPolicy: {loadBalancer: {warmupDurationSecs: 10s, localityLbSetting: {enabled: false}}, connectionPool: {http: {h2UpgradePolicy: UPGRADE}},
		  outlierDetection: {consecutiveErrors: 3}, tls: {mode: SIMPLE, credentialName: ca, insecureSkipVerify: true}}}`,
		`{host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: ca}, outlierDetection: {},
		  loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [version=v1]}, consistentHash: {httpHeaderName: x, minimumRingSize: 2048}}}}`,
		`{host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: c, path: /, ttl: 1s}, ringHash: {minimumRingSize: 2048}}}}}`,
		`{host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 251}}}}}`,
		`{host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpQueryParameterName: q}}}}`,
	},
	refused: map[string]string{
		"spec.exportTo":                                                              `{host: reviews, exportTo: [prod]}`,
		"spec.workloadSelector.matchLabels":                                          `{host: reviews, workloadSelector: {matchLabels: {a: b}}}`,
		"spec.trafficPolicy.tunnel.protocol":                                         `{host: reviews, trafficPolicy: {tunnel: {protocol: CONNECT, targetHost: x, targetPort: 1}}}`,
		"spec.trafficPolicy.tunnel.targetHost":                                       `{host: reviews, trafficPolicy: {tunnel: {targetHost: x, targetPort: 1}}}`,
		"spec.trafficPolicy.tunnel.targetPort":                                       `{host: reviews, trafficPolicy: {tunnel: {targetHost: x, targetPort: 1}}}`,
		"spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.enabled":                 `{host: reviews, trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {enabled: true}}}}`,
		"spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.failover.from":           `{host: reviews, trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {failover: [{from: a, to: b}]}}}}`,
		"spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.failover.to":             `{host: reviews, trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {failover: [{from: a, to: b}]}}}}`,
		"spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.failoverPriority":        `{host: reviews, trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {failoverPriority: [a]}}}}`,
		"spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.minClusterSize":          `{host: reviews, trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {minClusterSize: 3}}}}`,
		"spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes.name":  `{host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: c, attributes: [{name: SameSite}]}}}}}`,
		"spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes.value": `{host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: c, attributes: [{name: SameSite, value: Lax}]}}}}}`,
	},
}
