package resolve

import (
	"crypto/elliptic"
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
)

// tlsObjects are Secrets and ConfigMaps: good ones in shop and far, bad ones in shop.
func tlsObjects(t *testing.T) string {
	t.Helper()
	cert, key := selfSigned(t, ecKey(t, elliptic.P256()))
	_, other := selfSigned(t, ecKey(t, elliptic.P256()))
	lines := func(b []byte) string {
		return "|\n    " + strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "\n    ")
	}
	secret := func(namespace, name string, cert, key []byte) string {
		return "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nstringData:\n  tls.crt: " + lines(cert) + "\n  tls.key: " + lines(key)
	}
	bundle := func(namespace, name, key string, cert []byte) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: " + namespace + "}\ndata:\n  " + key + ": " + lines(cert)
	}
	return strings.Join([]string{
		secret("shop", "cert", cert, key), secret("far", "cert", cert, key), secret("shop", "mismatch", cert, other), secret("shop", "text", []byte("x"), []byte("y")),
		bundle("shop", "ca", "ca.crt", cert), bundle("far", "ca", "ca.crt", cert), bundle("shop", "nokey", "other", cert), bundle("shop", "text", "ca.crt", []byte("x")),
	}, "\n---\n")
}

func TestTLSCertificates(t *testing.T) {
	objects := tlsObjects(t)
	for name, c := range map[string]struct {
		tls      string
		accepted string
		resolved string
		served   []string // SDS names; nil: no server
		says     string
	}{
		"good":            {"{certificateRefs: [{name: cert}]}", "True/Accepted", "True/ResolvedRefs", []string{"secret/shop/cert"}, ""},
		"no such Secret":  {"{certificateRefs: [{name: none}]}", "True/Accepted", "False/InvalidCertificateRef", nil, "Secret shop/none does not exist"},
		"one of two":      {"{certificateRefs: [{name: none}, {name: cert}]}", "True/Accepted", "False/InvalidCertificateRef", []string{"secret/shop/cert"}, "certificateRefs[0]"},
		"unknown kind":    {"{certificateRefs: [{name: cert, kind: Fridge}]}", "True/Accepted", "False/InvalidCertificateRef", nil, "Fridge"},
		"unknown group":   {"{certificateRefs: [{name: cert, group: x.example}]}", "True/Accepted", "False/InvalidCertificateRef", nil, "x.example"},
		"key of another":  {"{certificateRefs: [{name: mismatch}]}", "True/Accepted", "False/InvalidCertificateRef", nil, "does not match"},
		"not PEM":         {"{certificateRefs: [{name: text}]}", "True/Accepted", "False/InvalidCertificateRef", nil, "Secret shop/text cannot be served"},
		"other namespace": {"{certificateRefs: [{name: cert, namespace: far}]}", "True/Accepted", "False/RefNotPermitted", nil, "ReferenceGrant in far"},
		"none named":      {"{mode: Terminate}", "True/Accepted", "False/InvalidCertificateRef", nil, "no certificate is named"},
		"options":         {"{certificateRefs: [{name: cert}], options: {x.example/min: '1.3', a.example/b: c}}", "False/UnsupportedValue", "True/ResolvedRefs", nil, "remove a.example/b, x.example/min"},
		"passthrough":     {"{mode: Passthrough, certificateRefs: [{name: cert}]}", "False/UnsupportedValue", "True/ResolvedRefs", nil, "Passthrough"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAPIWorld(t, objects, gatewayOf("listeners: [{name: https, port: 443, protocol: HTTPS, hostname: '*.example', tls: "+c.tls+"}, {name: http, port: 80, protocol: HTTP}]"),
				routeOf("shop", "r", "parentRefs: [{name: gw, sectionName: https}]\nhostnames: [a.example]"))
			s := row(w, w.api.GatewayStatus, "shop/gw")
			l := s.Listeners[0]
			if a, r := spelled(l.Conditions, "Accepted"), spelled(l.Conditions, "ResolvedRefs"); a != c.accepted || r != c.resolved {
				t.Errorf("accepted %q, resolved %q; want %q, %q", a, r, c.accepted, c.resolved)
			}
			if m := message(l.Conditions); !strings.Contains(m, c.says) {
				t.Errorf("message %q", m)
			}
			if strings.Contains(message(l.Conditions), "BEGIN") {
				t.Error("a message shows key material")
			}
			if got := spelled(s.Conditions, "ResolvedRefs") == "True/ResolvedRefs"; got != (c.resolved == "True/ResolvedRefs") {
				t.Errorf("the Gateway's references are resolved: %t", got)
			}
			var served []string
			for _, sv := range row(w, w.api.Gateways, "shop/gw").Servers {
				if sv.Section == "https" {
					served = sv.TLS.Certificates
				}
			}
			equalLists(t, "certificates", served, c.served)
			// Attachment does not depend on whether the listener can be served; binding does.
			want := []string{}
			if c.served != nil {
				want = []string{"gateway/0.0.0.0:443/*.example a.example"}
			}
			equalLists(t, "hosts", w.route("shop/r").hosts(), want)
			if l.AttachedRoutes != 1 || s.Listeners[1].AttachedRoutes != 0 {
				t.Errorf("attached %d and %d", l.AttachedRoutes, s.Listeners[1].AttachedRoutes)
			}
			if got := spelled(s.Listeners[1].Conditions, "Programmed"); got != "" {
				t.Errorf("the other listener is touched: %q", got)
			}
		})
	}
}

func TestTLSAcrossNamespaces(t *testing.T) {
	w := newAPIWorld(t, tlsObjects(t), gatewayOf("listeners: [{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert, namespace: far}]}}]"))
	grant := func(name string) string {
		return `{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: far}, spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}], to: [{group: "", kind: Secret` + name + `}]}}`
	}
	for _, c := range []struct {
		name string
		ok   bool
	}{{", name: other", false}, {", name: cert", true}, {"", true}} {
		w.apply(grant(c.name))
		gw := row(w, w.api.Gateways, "shop/gw")
		if ok := len(gw.Servers) == 1 && slices.Equal(gw.Servers[0].TLS.Certificates, []string{"secret/far/cert"}); ok != c.ok {
			t.Errorf("grant %q: served %t, %q", c.name, ok, said(gw.Status.Listeners[0].Conditions))
		}
	}
	w.remove(model.Ref{Group: "gateway.networking.k8s.io", Kind: "ReferenceGrant", Namespace: "far", Name: "g"})
	if n := len(row(w, w.api.Gateways, "shop/gw").Servers); n != 0 {
		t.Error("still served after the grant is gone")
	}
}

// Validation of client certificates, the default and that of a port.
func TestTLSFrontend(t *testing.T) {
	objects := tlsObjects(t)
	ca := func(refs string) string { return "{validation: {caCertificateRefs: [" + refs + "]}}" }
	good := ca("{group: '', kind: ConfigMap, name: ca}")
	for name, c := range map[string]struct {
		def, port          string // port applies to 8443, the listener's
		accepted, resolved string
		mode               model.DownstreamTLSMode // empty: not served
		bundle             string
	}{
		"default":               {good, "", "True/Accepted", "True/ResolvedRefs", model.TerminateMutual, "ca/ConfigMap/shop/ca"},
		"by port":               {"{}", good, "True/Accepted", "True/ResolvedRefs", model.TerminateMutual, "ca/ConfigMap/shop/ca"},
		"port without":          {good, "{}", "True/Accepted", "True/ResolvedRefs", model.TerminateSimple, ""},
		"no such ConfigMap":     {ca("{group: '', kind: ConfigMap, name: none}"), "", "False/NoValidCACertificate", "False/InvalidCACertificateRef", "", ""},
		"no ca.crt":             {ca("{group: '', kind: ConfigMap, name: nokey}"), "", "False/NoValidCACertificate", "False/InvalidCACertificateRef", "", ""},
		"no PEM":                {ca("{group: '', kind: ConfigMap, name: text}"), "", "False/NoValidCACertificate", "False/InvalidCACertificateRef", "", ""},
		"kind":                  {ca("{group: '', kind: Fridge, name: ca}"), "", "False/NoValidCACertificate", "False/InvalidCACertificateKind", "", ""},
		"not permitted":         {ca("{group: '', kind: ConfigMap, name: ca, namespace: far}"), "", "False/NoValidCACertificate", "False/RefNotPermitted", "", ""},
		"bad default, good one": {ca("{group: '', kind: ConfigMap, name: none}"), good, "True/Accepted", "True/ResolvedRefs", model.TerminateMutual, "ca/ConfigMap/shop/ca"},
		"two bundles":           {ca("{group: '', kind: ConfigMap, name: ca}, {group: '', kind: ConfigMap, name: ca}"), "", "False/UnsupportedValue", "True/ResolvedRefs", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			port := ""
			if c.port != "" {
				port = ", perPort: [{port: 8443, tls: " + c.port + "}]"
			}
			w := newAPIWorld(t, objects, gatewayOf("tls: {frontend: {default: "+c.def+port+"}}\nlisteners: [{name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}, {name: http, port: 80, protocol: HTTP}]"))
			s := row(w, w.api.Gateways, "shop/gw")
			if a, r := spelled(s.Status.Listeners[0].Conditions, "Accepted"), spelled(s.Status.Listeners[0].Conditions, "ResolvedRefs"); a != c.accepted || r != c.resolved {
				t.Errorf("accepted %q, resolved %q; want %q, %q", a, r, c.accepted, c.resolved)
			}
			var tls model.DownstreamTLS
			if s.Servers[0].TLS != nil {
				tls = *s.Servers[0].TLS
			}
			if tls.Mode != c.mode || tls.ValidationName != c.bundle {
				t.Errorf("mode %q, bundle %q; want %q, %q", tls.Mode, tls.ValidationName, c.mode, c.bundle)
			}
		})
	}
}

func TestTLSInsecureFallbackIsSaid(t *testing.T) {
	w := newAPIWorld(t, tlsObjects(t), gatewayOf(`tls: {frontend: {default: {validation: {mode: AllowInsecureFallback, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}
listeners: [{name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}]`))
	s := row(w, w.api.Gateways, "shop/gw")
	if got := spelled(s.Status.Conditions, "InsecureFrontendValidationMode"); got != "True/ConfigurationChanged" {
		t.Errorf("condition %q", got)
	}
	if tls := s.Servers[0].TLS; tls.Mode != model.TerminateOptionalMutual || !tls.AllowUntrusted {
		t.Errorf("tls %+v", tls)
	}
}

// "This condition MUST be set on all Listeners with overlapping TLS config": A and C of the API's own example, not B.
func TestTLSOverlap(t *testing.T) {
	tls := "port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}"
	w := newAPIWorld(t, tlsObjects(t), gatewayOf("listeners: [{name: a, hostname: foo.example.com, "+tls+", {name: b, hostname: foo.example.org, "+tls+", {name: c, hostname: '*.example.com', "+tls+", {name: d, hostname: foo.example.com, port: 80, protocol: HTTP}]"))
	var got []string
	s := row(w, w.api.Gateways, "shop/gw")
	for _, l := range s.Status.Listeners {
		got = append(got, l.Name+" "+spelled(l.Conditions, "OverlappingTLSConfig"))
	}
	equalLists(t, "overlap", got, []string{"a True/OverlappingHostnames", "b ", "c True/OverlappingHostnames", "d "})
	if len(s.Servers) != 4 {
		t.Errorf("%d servers", len(s.Servers))
	}
}
