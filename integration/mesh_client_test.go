package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// meshCall is one request of a mesh client. The stub and to (an original destination, "10.96.0.1:80", or empty) say where
// it goes; host is the Host header, "x" when empty.
type meshCall struct {
	stub, to, from     string
	method, host, path string
	header             []string // "name: value"
	body               string
}

// meshClient keeps its connections: all requests of one stub to one destination.
type meshClient struct {
	*http.Client
	dialer *dialer
}

// client is closed with the test.
func (m *meshRig) client(stub, to, from string) *meshClient {
	d := &dialer{stub: m.stub(stub), to: to, from: from}
	tr := &http.Transport{DialContext: d.DialContext, DisableCompression: true, MaxIdleConnsPerHost: 4}
	m.t.Cleanup(tr.CloseIdleConnections)
	return &meshClient{&http.Client{
		Transport: tr, Timeout: 60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, d}
}

func (c *meshClient) do(q meshCall) (reply, error) {
	if q.method == "" {
		q.method = http.MethodGet
	}
	if q.host == "" {
		q.host = "x"
	}
	if q.path == "" {
		q.path = "/"
	}
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	// Opaque is written as it is: Go would clean and escape the path.
	req, err := http.NewRequest(q.method, "http://mesh.test/", body)
	if err != nil {
		return reply{}, err
	}
	req.URL.Opaque, req.Host = q.path, q.host
	for _, h := range q.header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := c.Do(req)
	if err != nil {
		return reply{}, fmt.Errorf("%+v: %w", q, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, fmt.Errorf("%+v: %w", q, err)
	}
	out := reply{status: res.StatusCode, header: res.Header, body: string(b)}
	_ = json.Unmarshal(b, &out.echo)
	return out, nil
}

// do is one request over a connection of its own.
func (m *meshRig) do(q meshCall) (reply, error) {
	if q.stub == "" {
		q.stub = "web"
	}
	c := m.client(q.stub, q.to, q.from)
	defer c.CloseIdleConnections()
	return c.do(q)
}

// want is what a meshCall must lead to: a pod's name, or a status when no pod answers (or both).
type want struct {
	pod    string
	status int
}

// expect polls until a call gives what is wanted: routes of a new address come after the acknowledgement of its scope.
func (m *meshRig) expect(t *testing.T, q meshCall, w want) reply {
	t.Helper()
	if w.status == 0 {
		w.status = http.StatusOK
	}
	var got reply
	until(t, fmt.Sprintf("%+v gives %+v", q, w), func() (err error) {
		if got, err = m.do(q); err != nil {
			return err
		}
		if got.status != w.status || got.echo.Backend != w.pod {
			return fmt.Errorf("got %d from pod %q: %s", got.status, got.echo.Backend, got.body)
		}
		return nil
	})
	return got
}

// expectStatus makes one request, which must be answered at once, by whomever.
func (m *meshRig) expectStatus(t *testing.T, q meshCall, status int) reply {
	t.Helper()
	got, err := m.do(q)
	if err != nil || got.status != status {
		t.Fatalf("%+v: %d, %v", q, got.status, err)
	}
	return got
}

// podYAML is a ready pod at ip(n). Labels are "a: b, c: d"; node may be empty.
func podYAML(namespace, name string, n int, labels, node string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s, labels: {%s}}
spec: {nodeName: %q, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: $IP.%d, conditions: [{type: Ready, status: "True"}]}
`, name, namespace, labels, node, n)
}

// serviceYAML is a Service with the selector app=name. Ports are "{name: http, port: 80}, …"; those without a targetPort
// lead to $PORT.
func serviceYAML(namespace, name, vip, ports string) string {
	ports = strings.ReplaceAll(ports, "}", ", targetPort: $PORT}")
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s}
spec:
  clusterIP: %q
  selector: {app: %s}
  ports: [%s]
`, name, namespace, vip, name, ports)
}

// virtualServiceYAML is a VirtualService of the mesh for one host; http is its body, indented by two.
func virtualServiceYAML(namespace, name, host, body string) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: %s}
spec:
  hosts: [%q]
%s
`, name, namespace, host, strings.Trim(body, "\n"))
}
