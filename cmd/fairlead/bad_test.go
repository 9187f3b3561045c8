package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/process"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
)

// badOnes are objects that must not keep a good one from being served: what each is called, and what is said of it.
var badOnes = map[string]struct{ manifest, name, want string }{
	"regex": {`apiVersion: fairlead.io/v1alpha1
kind: VirtualService
metadata: {name: bad-regex}
spec:
  hosts: [bad-regex.example.com]
  gateways: [edge]
  http: [{match: [{uri: {regex: "/[a-"}}], directResponse: {status: 200}}]
`, "VirtualService default/bad-regex", "not valid RE2"},
	"reference": {`apiVersion: fairlead.io/v1alpha1
kind: VirtualService
metadata: {name: bad-reference}
spec:
  hosts: [bad-reference.example.com]
  gateways: [edge]
  http: [{route: [{destination: {host: nowhere}}]}]
`, "VirtualService default/bad-reference", "no Service or ServiceEntry"},
	"yaml": {"kind: [\n", "", "cannot be read as YAML"},
	"huge": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: huge}\ndata:\n  ca.crt: " + strings.Repeat("x", 9<<20) + "\n", "ConfigMap default/huge", "the object has 9.4 MB"},
}

// One bad object of a kind among 500 good ones: the 500 are served by a real Envoy, and the bad one says why.
func TestOneBadObjectAmongFiveHundred(t *testing.T) {
	t.Parallel()
	for kind, bad := range badOnes {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			client := serveFolder(t, port, map[string]string{"good.yaml": fiveHundred(port), "bad.yaml": bad.manifest})
			for i := range 500 {
				if code := ask500(t, port, i); code != 200 {
					t.Fatalf("host %d of 500 answers %d", i, code)
				}
			}
			page, err := client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !says(page, bad.name, bad.want) {
				t.Errorf("nothing says %q of %q; problems %+v", bad.want, bad.name, page.Problems)
			}
		})
	}
}

func fiveHundred(port int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: fairlead.io/v1alpha1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n  selector: {istio: ingressgateway}\n"+
		"  servers: [{port: {number: %d, name: http, protocol: HTTP}, hosts: ['*']}]\n", port)
	for i := range 500 {
		fmt.Fprintf(&b, "---\napiVersion: fairlead.io/v1alpha1\nkind: VirtualService\nmetadata: {name: good-%d}\n"+
			"spec: {hosts: [good-%d.example.com], gateways: [edge], http: [{directResponse: {status: 200}}]}\n", i, i)
	}
	return b.String()
}

func says(page report.Page, name, want string) bool {
	for _, p := range page.Problems {
		if strings.Contains(p.Message, want) && p.Object.String() == name {
			return true
		}
	}
	for _, o := range page.Objects {
		for _, c := range o.Conditions {
			if o.Ref.String() == name && strings.Contains(c.Message, want) && c.Bad() {
				return true
			}
		}
	}
	return false
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func ask500(t *testing.T, port, i int) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = fmt.Sprintf("good-%d.example.com", i)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// serveFolder runs a server on files and an Envoy on the server until the end of the test.
func serveFolder(t *testing.T, port int, contents map[string]string) *admin.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "fl") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	manifests := filepath.Join(dir, "manifests")
	if err := os.Mkdir(manifests, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range contents {
		if err := os.WriteFile(filepath.Join(manifests, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mesh := resolve.DefaultConfig()
	mesh.GatewayAddress = netip.MustParseAddr("127.0.0.1")
	s, err := server.New(server.Config{
		Mesh: mesh, Source: files.New(files.Config{Dir: manifests, Schemas: schema.New()}), Log: slog.New(slog.DiscardHandler),
		XDS: "unix:" + filepath.Join(dir, "x"), Admin: "unix:" + filepath.Join(dir, "a"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	startEnvoy(t, dir, s.XDS(), port)
	return admin.NewClient(s.Admin())
}

// startEnvoy runs an Envoy until the end of the test, and waits until it listens on port.
func startEnvoy(t *testing.T, dir, xds string, port int) {
	t.Helper()
	path, err := findEnvoy(environment{getenv: os.Getenv})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := bootstrap.Bootstrap(bootstrap.Config{NodeID: "test", XDS: xds, Admin: "unix:" + filepath.Join(dir, "e")})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := process.Start("envoy", dir, path, "-c", file, "--log-level", "error", "--disable-hot-restart", "--concurrency", "1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(0); err != nil {
			t.Error(err)
		}
	})
	err = p.Wait(time.Minute, func() error {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return errors.New("no listener yet")
		}
		return conn.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}
