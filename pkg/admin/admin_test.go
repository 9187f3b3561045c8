package admin

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an admin server over a real engine with one source and one derived table, and one client that was sent two
// resources.
type rig struct {
	*Server
	engine  *table.Engine
	ready   error
	barrier waits
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{engine: table.New(table.Options{Why: true})}
	words := table.NewSource[string](r.engine, "words")
	lengths := table.NewDerived(r.engine, "lengths", func(rd *table.Reader, key string) (int, bool) {
		w, ok := table.Get(rd, words, key)
		return len(w), ok
	}, []table.Trigger{words})
	table.Publish(lengths)
	b := r.engine.NewBatch()
	words.Set(b, "greeting", "hello")
	words.Set(b, "key", "-----BEGIN PRIVATE KEY-----")
	r.engine.Apply(b)

	src := snapshot.NewStatic()
	cluster, err := snapshot.Encode("c", &clusterv3.Cluster{Name: "c"}, 1, model.Ref{Kind: "Service", Namespace: "default", Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := snapshot.Encode("s", &tlsv3.Secret{Name: "s", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{PrivateKey: bytesOf(private)}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	src.Update(1, []*snapshot.Resource{cluster, secret})
	clients := func() []push.ClientInfo {
		return []push.ClientInfo{{
			Node: snapshot.Node{ID: "node/a"}, Connected: time.Now(), Latest: 3, Settled: 1,
			Types: []push.TypeInfo{{Type: Kinds["clusters"][0], Resources: 2, Nacks: 1}, {Type: "type.googleapis.com/made.up", Resources: 1}},
		}}
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(NewCollector(r.engine, clients, "v1.2.3"))
	r.Server = New(Config{
		Gatherer: reg, Engine: r.engine, Ready: func() error { return r.ready }, Source: src, Clients: clients, Version: "v1.2.3",
		Resources: func(string) []push.ClientResource {
			return []push.ClientResource{
				{Type: cluster.Type, Name: "c", Version: cluster.Version(), Acked: true},
				{Type: cluster.Type, Name: "gone", Version: "1@1", Acked: true},
				{Type: secret.Type, Name: "s", Version: "abc@1"},
			}
		},
		Barrier: &r.barrier,
		Status: func() report.Page {
			return report.Page{Objects: []report.Object{{Ref: report.Ref{Kind: "Service", Name: "c"}}}}
		},
	})
	return r
}

func (r *rig) get(t *testing.T, path string, change ...func(*http.Request)) (int, string) {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil)
	for _, c := range change {
		c(req)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func TestPages(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct {
		path string
		code int
		want []string
	}{
		{"/", 200, []string{"/debug/why", "/api/clients"}},
		{"/healthz", 200, []string{"ok"}},
		{"/readyz", 200, []string{"ready"}},
		{"/api/version", 200, []string{"v1.2.3"}},
		{"/api/clients", 200, []string{`"ID": "node/a"`}},
		{"/api/status", 200, []string{`"kind": "Service"`}},
		{"/api/config/node%2Fa/clusters", 200, []string{`"name": "c"`, `"origins"`, "Service default/c", `"acked": true`}},
		{"/api/config/node%2Fa/secrets", 200, []string{`"newer"`, "W3JlZGFjdGVkXQ=="}},
		{"/api/config/node%2Fa/pods", 404, []string{"none of clusters, endpoints, listeners, peers, routes, scopes, secrets"}},
		{"/api/config/b/clusters", 404, []string{"connected are: node/a"}},
		{"/api/explain?from=8.8.8.8&to=9.9.9.9:53", 200, []string{`"verdict": "ALLOWED"`}},
		{"/api/explain?from=8.8.8.8&to=x:53", 400, []string{"none of pod/NAMESPACE/NAME"}},
		{"/api/explain?from=pod/a/b&to=9.9.9.9:53", 404, []string{"there is no pod/a/b"}},
		{"/debug/tables", 200, []string{`"name": "lengths"`, `"rows": 2`, `"passes"`}},
		{"/debug/why?table=lengths&key=greeting", 200, []string{`"table": "words"`, `"key": "greeting"`, `"present": true`}},
		{"/debug/why?table=lengths&key=none", 404, []string{"never been asked for none"}},
		{"/debug/why?table=none&key=x", 404, []string{"there are: words, lengths"}},
		{"/debug/dump?table=words", 200, []string{`"hello"`, redacted}},
		{"/debug/dump?table=none", 404, []string{"there are: words, lengths"}},
		{"/debug/pprof/cmdline", 200, nil},
		{"/nothing", 404, nil},
	} {
		code, body := r.get(t, test.path)
		if code != test.code {
			t.Errorf("%s: %d, want %d: %s", test.path, code, test.code, body)
		}
		for _, want := range test.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %q is not in\n%s", test.path, want, body)
			}
		}
		if leaks([]byte(body)) || strings.Contains(body, "BEGIN PRIVATE") {
			t.Errorf("%s shows a private key:\n%s", test.path, body)
		}
	}
}

func TestMetrics(t *testing.T) {
	_, body := newRig(t).get(t, "/metrics")
	for _, want := range []string{
		`fairlead_build_info{version="v1.2.3"} 1`, "fairlead_passes_total 1", `fairlead_table_rows{table="lengths"} 2`,
		`fairlead_table_dependencies{table="lengths"} 2`, "fairlead_queue_writes 0", "fairlead_pass_last_seconds ",
		`fairlead_xds_client_resources{node="node/a",type="Cluster"} 2`, `fairlead_xds_client_behind{node="node/a"} 2`,
		`fairlead_xds_client_nacks_total{node="node/a",type="Cluster"} 1`,
	} {
		if !strings.Contains(body, want+"\n") && !strings.HasSuffix(want, " ") || !strings.Contains(body, want) {
			t.Errorf("%q is not in\n%s", want, body)
		}
	}
	if strings.Contains(body, "made") {
		t.Errorf("a type that a client made up is a label:\n%s", body)
	}
}

func TestReadiness(t *testing.T) {
	r := newRig(t)
	r.ready = errors.New("not yet")
	if code, body := r.get(t, "/readyz"); code != 503 || !strings.Contains(body, "not yet") {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := r.get(t, "/healthz"); code != 200 {
		t.Errorf("not healthy while starting: %d", code)
	}
	r.ready = nil
	r.Drain()
	if code, body := r.get(t, "/readyz"); code != 503 || !strings.Contains(body, "shutting down") {
		t.Errorf("%d %s", code, body)
	}
}

// A web page must not be able to make its visitor's browser read the configuration.
func TestOnlyThisMachineIsAnswered(t *testing.T) {
	r := newRig(t)
	host := func(h string) func(*http.Request) { return func(q *http.Request) { q.Host = h } }
	for h, want := range map[string]int{
		"127.0.0.1:15014": 200, "[::1]:15014": 200, "localhost:15014": 200, ClientHost: 200, "evil.example.com": 403, "10.0.0.1:15014": 403,
	} {
		if code, _ := r.get(t, "/api/clients", host(h)); code != want {
			t.Errorf("host %s: %d, want %d", h, code, want)
		}
	}
	origin := func(q *http.Request) { q.Header.Set("Origin", "http://evil.example.com") }
	if code, _ := r.get(t, "/api/clients", origin); code != 403 {
		t.Errorf("a web page gets %d", code)
	}
}

func TestClientOverSocket(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Serve(lis) }()
	c := NewClient("unix:" + path)
	got, err := c.Config(t.Context(), "node/a", "clusters")
	if err != nil || len(got.Resources) != 2 || got.Resources[0].Name != "c" || string(got.Resources[1].Resource) != "null" {
		t.Errorf("%+v, %v", got, err)
	}
	var cluster struct{ Name string }
	if err := json.Unmarshal(got.Resources[0].Resource, &cluster); err != nil || cluster.Name != "c" {
		t.Errorf("cluster %+v, %v", cluster, err)
	}
	if _, err := c.Config(t.Context(), "b", "clusters"); err == nil || !strings.Contains(err.Error(), "connected are: node/a") {
		t.Errorf("error %v", err)
	}
	r.Close()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := c.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "no server answers at unix:"+path) {
		t.Errorf("after the end: %v", err)
	}
}
