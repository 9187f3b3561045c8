package integration_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/mesh"
)

// manyRoutes is n HTTPRoutes, each for the host h<i>.test, to one of ten Services.
func manyRoutes(n int, backend *mesh.Backend) string {
	var b strings.Builder
	b.WriteString(gatewayYAML("- {name: http, port: 80, protocol: HTTP}"))
	for i := range 10 {
		b.WriteString(gatewayService(fmt.Sprintf("s%d", i), backend))
	}
	for i := range n {
		b.WriteString(routeYAML(fmt.Sprintf("h%d", i), fmt.Sprintf("h%d.test", i), fmt.Sprintf("- backendRefs: [{name: s%d, port: 80}]", i%10)))
	}
	return b.String()
}

// expectMany sends a request to each of the hosts of manyRoutes.
func expectMany(t *testing.T, m *mesh.Mesh, n int) {
	t.Helper()
	for i := range n {
		r := mesh.Request{Host: fmt.Sprintf("h%d.test", i)}
		if got, err := m.Do(r); err != nil || got.Status != 200 {
			t.Fatalf("%s: %d, %v", r.Host, got.Status, err)
		}
	}
}

// TestOneBadAmong500 is the acceptance of the issue: "one bad object among 500 good ones: the 500 are served and the bad one
// says why". One mistake is found by us, two only by Envoy: a port that another process has, and a file that is not there.
func TestOneBadAmong500(t *testing.T) {
	const good = 500
	a := mesh.NewBackend(t, "a")
	m := mesh.Start(t, mesh.Options{MayReject: true, Manifests: manyRoutes(good, a)})
	lis, err := net.Listen("tcp", netip.AddrPortFrom(m.Address, 81).String())
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()

	m.Apply("bad-route", routeYAML("bad", "bad.test", "- matches: [{path: {type: RegularExpression, value: '/(['}}]\n  backendRefs: [{name: s0, port: 80}]"))
	m.WaitFinding(t, "HTTPRoute default/bad", "not valid RE2")
	expectMany(t, m, good)
	if got := m.Rejections(); len(got) > 0 {
		t.Errorf("Envoy was sent what we knew to be wrong: %q", got)
	}

	m.Apply("bad-port", gatewayNamed("taken", "- {name: http, port: 81, protocol: HTTP}\n- {name: free, port: 82, protocol: HTTP}"))
	m.WaitFinding(t, "Gateway default/taken", "Address already in use")
	m.Apply("bad-file", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: files, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8443, name: tls, protocol: HTTPS}, tls: {mode: SIMPLE, serverCertificate: /nowhere/cert.pem, privateKey: /nowhere/key.pem}, hosts: ["*"]}]
`)
	m.WaitFinding(t, "Gateway default/files", "/nowhere/key.pem")
	expectMany(t, m, good)
	// What comes later is served, and an edit of a good object too.
	m.Apply("late", routeYAML("late", "late.test", "- backendRefs: [{name: s0, port: 80}]"))
	m.WaitStatus(t, mesh.Request{Host: "late.test"}, 200)
	m.WaitStatus(t, mesh.Request{Host: "nobody.test", Port: 82}, 404) // the good listener of the Gateway with the bad one
	if o, _ := m.Status("HTTPRoute", "default", "late"); o.Programmed == nil || len(o.Programmed.Rejected) > 0 {
		t.Errorf("the good route is blamed: %+v", o.Programmed)
	}
	m.Delete("bad-file")
	m.Apply("bad-port", gatewayNamed("taken", "- {name: http, port: 83, protocol: HTTP}"))
	m.WaitNoFinding(t, "Gateway default/taken")
}

// badInput is a mistake, the object or file that is told of it, and a part of what it is told.
type badInput struct{ name, manifests, object, text string }

// TestBadInput makes every class of mistake that the issue names, and sees that it is told to the right object, in words,
// and that nothing else suffers. Unlike in TestOneBadAmong500, Envoy must not be bothered. (Files have no age, so of two that
// claim one thing the lower name wins: here the good ones.)
func TestBadInput(t *testing.T) {
	a := mesh.NewBackend(t, "a")
	m := mesh.Start(t, mesh.Options{Manifests: manyRoutes(5, a) + gatewayService("web", a)})
	for _, list := range [][]badInput{badFiles(), badRoutes(), badMesh(), badGateways(t)} {
		for _, c := range list {
			t.Run(c.name, func(t *testing.T) {
				m.Apply("bad", c.manifests)
				f := m.WaitFinding(t, c.object, c.text)
				if f.File == "" || (f.Line == 0 && c.name != "huge") {
					t.Errorf("no place: %+v", f)
				}
				expectMany(t, m, 5)
				m.Delete("bad")
				m.WaitNoFinding(t, c.object)
			})
		}
	}
	expectMany(t, m, 5)
}

func badFiles() []badInput {
	return []badInput{
		{"malformed", "apiVersion: v1\nkind: Service\nmetadata: {name: x\n", "", "cannot be read as YAML"},
		{"kind", "apiVersion: networking.istio.io/v1\nkind: VirtualServices\nmetadata: {name: x, namespace: default}\n", "", "VirtualService"},
		{"huge", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big, namespace: default}\ndata:\n  ca.crt: " + strings.Repeat("x", 11<<20) + "\n", "", "MiB"},
		{"field", routeYAML("field", "field.test", "- backendRefs: [{name: web, port: 80, wieght: 3}]"), "HTTPRoute default/field", "wieght"},
	}
}

func badRoutes() []badInput {
	match := func(regex string) string {
		return routeYAML("bad", "bad.test", "- matches: [{path: {type: RegularExpression, value: '"+regex+"'}}]\n  backendRefs: [{name: web, port: 80}]")
	}
	return []badInput{
		{"backend", routeYAML("bad", "bad.test", "- backendRefs: [{name: nobody, port: 80}]"), "HTTPRoute default/bad", "default/nobody does not exist"},
		{"parent", routeTo("{name: nowhere}", "default", "bad", "bad.test", "- backendRefs: [{name: web, port: 80}]"), "HTTPRoute default/bad", "nowhere"},
		{"grant", routeYAML("bad", "bad.test", "- backendRefs: [{name: web, namespace: other, port: 80}]"), "HTTPRoute default/bad", "ReferenceGrant"},
		{"regex", match("/a(b"), "HTTPRoute default/bad", "not valid RE2"},
		{"costly", match("/" + strings.Repeat("[^/]{900}", 20)), "HTTPRoute default/bad", "costs too much"},
		{"lookahead", match("/(?=x)"), "HTTPRoute default/bad", "not valid RE2"},
	}
}

func istio(kind, name, spec string) string {
	return "---\napiVersion: networking.istio.io/v1\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: default}\nspec:\n" + indent(spec, "  ")
}

func badMesh() []badInput {
	return []badInput{
		{
			"weights", istio("VirtualService", "bad", "hosts: [web]\nhttp: [{route: [{destination: {host: web}, weight: 0}, {destination: {host: s0}, weight: 0}]}]"),
			"VirtualService default/bad", "weights",
		},
		{"subset", istio("VirtualService", "bad", "hosts: [web]\nhttp: [{route: [{destination: {host: web, subset: v9}}]}]"), "VirtualService default/bad", "v9"},
		{"destination", istio("VirtualService", "bad", "hosts: [web]\nhttp: [{route: [{destination: {host: nobody}}]}]"), "VirtualService default/bad", "nobody"},
		{"gateway", istio("VirtualService", "bad", "hosts: [x.test]\ngateways: [nowhere]\nhttp: [{route: [{destination: {host: web}}]}]"), "VirtualService default/bad", "nowhere"},
		{
			"delegates", istio("VirtualService", "bad", "hosts: [web]\nhttp: [{delegate: {name: one}}]") +
				istio("VirtualService", "one", "http: [{delegate: {name: two}}]") + istio("VirtualService", "two", "http: [{delegate: {name: one}}]"),
			"VirtualService default/bad", "delegate",
		},
		{"regex", istio("VirtualService", "bad", "hosts: [web]\nhttp: [{match: [{uri: {regex: '/(['}}], route: [{destination: {host: web}}]}]"), "VirtualService default/bad", "not valid RE2"},
		{
			"hosts", istio("ServiceEntry", "first", "hosts: [api.test]\nports: [{number: 80, name: http, protocol: HTTP}]\nresolution: DNS") +
				istio("ServiceEntry", "second", "hosts: [api.test]\nports: [{number: 80, name: http, protocol: HTTP}]\nresolution: DNS"),
			"ServiceEntry default/second", "api.test",
		},
		{"host", istio("DestinationRule", "bad", "host: nobody"), "DestinationRule default/bad", "nobody"},
	}
}

func badGateways(t *testing.T) []badInput {
	ca := newSigner(t)
	cert, _ := ca.issue(t, 1, "x.test")
	_, key := ca.issue(t, 2, "x.test")
	return []badInput{
		{"certificate", gatewayNamed("late", httpsListener("https", "", "{name: pair}")) + tlsSecret("default", "pair", cert, key), "Gateway default/late", "private key does not match"},
		{"garbage", gatewayNamed("late", httpsListener("https", "", "{name: pair}")) + tlsSecret("default", "pair", []byte("x"), []byte("y")), "Gateway default/late", "default/pair"},
		{"secret", gatewayNamed("late", httpsListener("https", "", "{name: pair}")), "Gateway default/late", "default/pair"},
		{
			"collision", gatewayNamed("late", "- {name: https, port: 80, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}}") + tlsSecretOf(t, ca, "good"),
			"Gateway default/late", ":80",
		},
		{
			"raw", istio("Gateway", "late", "selector: {istio: ingressgateway}\nservers: [{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}]"),
			"Gateway default/late", ":80",
		},
		{"same", gatewayNamed("late", "- {name: one, port: 8080, protocol: HTTP}\n- {name: two, port: 8080, protocol: HTTP}"), "Gateway default/late", "must be unique"},
	}
}

func tlsSecretOf(t *testing.T, ca *signer, name string) string {
	cert, key := ca.issue(t, 3, "x.test")
	return tlsSecret("default", name, cert, key)
}
