package integration_test

import (
	"fmt"
	"testing"

	"fairlead.io/fairlead/pkg/resolve"
)

// TestMeshRedirectPort asks for the port behind a new host, which Envoy would leave out.
func TestMeshRedirectPort(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}})
	ports := "{name: http, port: 80}, {name: http-alt, port: 9080}, {name: http-tls, port: 443}"
	m.apply("base", serviceYAML("shop", "vs", "10.96.8.1", ports)+serviceYAML("shop", "hr", "10.96.8.2", ports)+
		virtualServiceYAML("shop", "vs", "vs", "  http:\n  - match: [{uri: {prefix: /plain}}]\n    redirect: {authority: new.test}\n"+
			"  - redirect: {authority: new.test, derivePort: FROM_REQUEST_PORT}")+
		routeTo(`{group: "", kind: Service, name: hr}`, "shop", "hr", "", `- filters: [{type: RequestRedirect, requestRedirect: {hostname: new.test}}]`))
	for _, c := range []struct{ vip, path, want string }{
		{"10.96.8.1:80", "/a", "http://new.test/a"},
		{"10.96.8.1:9080", "/a", "http://new.test:9080/a"},
		{"10.96.8.1:443", "/a", "http://new.test:443/a"},
		{"10.96.8.2:80", "/a", "http://new.test/a"},
		{"10.96.8.2:9080", "/a", "http://new.test:9080/a"},
		{"10.96.8.2:443", "/a", "http://new.test:443/a"},
		{"10.96.8.1:9080", "/plain", "http://new.test/plain"},
	} {
		until(t, c.vip+c.path+" redirects to "+c.want, func() error {
			got, err := m.do(meshCall{to: c.vip, host: "old.test:1", path: c.path})
			if err == nil && got.header.Get("Location") != c.want {
				err = fmt.Errorf("%d to %q", got.status, got.header.Get("Location"))
			}
			return err
		})
	}
	m.says(t, "VirtualService", "shop/vs", "spec.http[0].redirect.authority: ")
}
