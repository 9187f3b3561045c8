package resolve

import (
	"crypto/elliptic"
	"encoding/base64"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

func secretManifest(name string, data map[string][]byte) string {
	var parts []string
	for k, v := range data {
		parts = append(parts, k+": "+base64.StdEncoding.EncodeToString(v))
	}
	return "{apiVersion: v1, kind: Secret, metadata: {name: " + name + ", namespace: shop}, data: {" + strings.Join(parts, ", ") + "}}"
}

func TestServerGatewaySecrets(t *testing.T) {
	cert, key := selfSigned(t, ecKey(t, elliptic.P256()))
	_, other := selfSigned(t, ecKey(t, elliptic.P256()))
	secrets := []string{
		secretManifest("good", map[string][]byte{"tls.crt": cert, "tls.key": key}),
		secretManifest("generic", map[string][]byte{"cert": cert, "key": key, "cacert": cert}),
		secretManifest("mixed", map[string][]byte{"tls.crt": cert, "tls.key": other}),
		secretManifest("beside", map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": cert}),
		secretManifest("beside-cacert", map[string][]byte{"ca.crt": cert}),
		secretManifest("bad-ca", map[string][]byte{"ca.crt": []byte("no PEM")}),
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: bundle, namespace: shop}, data: {ca.crt: " + strings.ReplaceAll(`"`+string(cert)+`"`, "\n", `\n`) + "}}",
	}
	for name, c := range map[string]struct{ tls, want, said string }{
		"simple":             {`{mode: SIMPLE, credentialName: good}`, "{Mode:SIMPLE Certificates:[secret/shop/good]}", ""},
		"prefix":             {`{mode: SIMPLE, credentialName: "kubernetes://good"}`, "{Mode:SIMPLE Certificates:[secret/shop/good]}", ""},
		"wrong key":          {`{mode: SIMPLE, credentialName: mixed}`, "", "Secret shop/mixed cannot be served"},
		"one of two":         {`{mode: SIMPLE, credentialNames: [mixed, good]}`, "{Mode:SIMPLE Certificates:[secret/shop/good]}", "spec.servers[0].tls.credentialNames[0]: Secret shop/mixed"},
		"no CA":              {`{mode: MUTUAL, credentialName: good}`, "", "create Secret shop/good-cacert"},
		"own CA":             {`{mode: MUTUAL, credentialName: generic}`, "{Mode:MUTUAL Certificates:[secret/shop/generic] ValidationName:ca/Secret/shop/generic}", ""},
		"CA beside":          {`{mode: OPTIONAL_MUTUAL, credentialName: beside}`, "{Mode:OPTIONAL_MUTUAL Certificates:[secret/shop/beside] ValidationName:ca/Secret/shop/beside-cacert}", ""},
		"CA by name":         {`{mode: MUTUAL, credentialName: beside, caCertCredentialName: generic}`, "{Mode:MUTUAL Certificates:[secret/shop/beside] ValidationName:ca/Secret/shop/generic}", ""},
		"CA of a ConfigMap":  {`{mode: MUTUAL, credentialName: good, caCertCredentialName: bundle}`, "{Mode:MUTUAL Certificates:[secret/shop/good] ValidationName:ca/ConfigMap/shop/bundle}", ""},
		"CA that is none":    {`{mode: MUTUAL, credentialName: good, caCertCredentialName: bad-ca}`, "", "Secret shop/bad-ca is no CA bundle"},
		"CA that is missing": {`{mode: MUTUAL, credentialName: good, caCertCredentialName: gone}`, "", "neither a Secret nor a ConfigMap shop/gone exists"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTrafficWorld(t, append(secrets, "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g, namespace: shop}, spec: {servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: "+c.tls+"}]}}")...)
			g := trafficRow(w, w.traffic.Gateways, "shop/g@istio")
			got := ""
			if len(g.Servers) == 1 {
				got = brief(*g.Servers[0].TLS)
			}
			if got != c.want {
				t.Errorf("TLS is %q, want %q", got, c.want)
			}
			text := conditionsText(g.Status.Conditions)
			if c.said == "" && strings.Contains(text, "FALSE") || !strings.Contains(text, c.said) {
				t.Errorf("conditions are\n%swant %q", text, c.said)
			}
		})
	}
}

// A Secret that comes opens the server; one that goes closes it.
func TestServerGatewayFollowsItsSecret(t *testing.T) {
	cert, key := selfSigned(t, ecKey(t, elliptic.P256()))
	w := newTrafficWorld(t, "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g, namespace: shop}, spec: {servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: late}}]}}")
	servers := func() int { return len(trafficRow(w, w.traffic.Gateways, "shop/g@istio").Servers) }
	if servers() != 0 {
		t.Fatal("a server without certificate is open")
	}
	w.apply(secretManifest("late", map[string][]byte{"tls.crt": cert, "tls.key": key}))
	if servers() != 1 {
		t.Fatal("the Secret is there, the server is not")
	}
	w.e.Apply(w.in.Batch([]source.Update{{Ref: model.Ref{Kind: "Secret", Namespace: "shop", Name: "late"}}}, 0))
	if servers() != 0 {
		t.Fatal("the Secret is gone, the server is still open")
	}
}
