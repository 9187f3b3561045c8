package mesh

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Echo is what a backend saw of a request; it is also the body of the answer.
type Echo struct {
	Backend, Method, Host, Path, Query, Proto string
	// URI is path and query as they were written.
	URI    string
	Header http.Header
	Body   string
}

// Backend is an HTTP/1.1 and h2c server on a loopback port. It echoes, and does what a request asks for:
//
//	x-want-status: 503,200   answers the first try of one x-want-id by 503 and later ones by 200
//	x-want-delay: 2s         waits first
//	upgrade: …               switches protocols and echoes bytes
type Backend struct {
	Name    string
	Address netip.AddrPort

	mu    sync.Mutex
	seen  []Echo
	tries map[string]int
}

// NewHandler answers as a Backend does, for a server of one's own; it has no address.
func NewHandler(name string) *Backend { return &Backend{Name: name, tries: map[string]int{}} }

// NewBackend starts a backend that lives as long as t.
func NewBackend(t testing.TB, name string) *Backend {
	t.Helper()
	return NewBackendAt(t, name, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

// NewBackendAt is NewBackend on another address of this machine.
func NewBackendAt(t testing.TB, name string, at netip.Addr) *Backend {
	t.Helper()
	b := NewHandler(name)
	lis, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	b.Address = netip.MustParseAddrPort(lis.Addr().String())
	s := &http.Server{Handler: b, ReadHeaderTimeout: Patience, Protocols: &http.Protocols{}}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return b
}

// ServeHTTP echoes; see Backend.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		echoUpgraded(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	saw := Echo{b.Name, r.Method, r.Host, r.URL.EscapedPath(), r.URL.RawQuery, r.Proto, r.RequestURI, r.Header, string(body)}
	id := r.Header.Get("x-want-id")
	b.mu.Lock()
	b.seen = append(b.seen, saw)
	try := b.tries[id]
	b.tries[id]++
	b.mu.Unlock()
	if d, err := time.ParseDuration(r.Header.Get("x-want-delay")); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	status := http.StatusOK
	if s := r.Header.Get("x-want-status"); s != "" {
		list := strings.Split(s, ",")
		status, _ = strconv.Atoi(list[min(try, len(list)-1)])
	}
	w.Header().Set("Server", "backend")
	w.Header().Set("x-drop", "1")
	w.Header().Set("x-keep", "1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(saw)
}

func echoUpgraded(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	_ = rw.Flush()
	_, _ = io.Copy(conn, rw)
}

// Seen lists the requests with this x-want-id, or all for an empty one.
func (b *Backend) Seen(id string) []Echo {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Echo
	for _, e := range b.seen {
		if id == "" || e.Header.Get("x-want-id") == id {
			out = append(out, e)
		}
	}
	return out
}

// NewGRPC starts a gRPC server (grpc.health.v1) that lives as long as t.
func NewGRPC(t testing.TB) netip.AddrPort {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return netip.MustParseAddrPort(lis.Addr().String())
}

// Service is a Service of one port, and the EndpointSlice that leads to servers on loopback.
type Service struct {
	Namespace, Name string // namespace default by default
	ClusterIP       string // "None" by default
	Port            int    // 80 by default
	PortName        string // "http" by default
	AppProtocol     string
	Labels          map[string]string // of the pods; each server has one
}

// YAML gives the manifests. Each server is an endpoint; none leaves the Service empty.
func (s Service) YAML(servers ...netip.AddrPort) string {
	if s.Namespace == "" {
		s.Namespace = "default"
	}
	if s.ClusterIP == "" {
		s.ClusterIP = "None"
	}
	if s.Port == 0 {
		s.Port = 80
	}
	if s.PortName == "" {
		s.PortName = "http"
	}
	app := ""
	if s.AppProtocol != "" {
		app = ", appProtocol: " + s.AppProtocol
	}
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec:\n  clusterIP: %s\n  ports: [{name: %s, port: %d%s}]\n",
		s.Name, s.Namespace, s.ClusterIP, s.PortName, s.Port, app)
	for i, a := range servers {
		// A slice has one port for all its endpoints, and each server on loopback has its own.
		b.WriteString(s.slice(i, a))
	}
	if len(servers) == 0 {
		fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %[1]s-0, namespace: %[2]s, labels: {kubernetes.io/service-name: %[1]s}}\naddressType: IPv4\nports: [{name: %[3]s, port: 1}]\nendpoints: []\n",
			s.Name, s.Namespace, s.PortName)
	}
	return b.String()
}

func (s Service) slice(i int, a netip.AddrPort) string {
	return fmt.Sprintf("---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %[1]s-%[2]d, namespace: %[3]s, labels: {kubernetes.io/service-name: %[1]s}}\n"+
		"addressType: IPv4\nports: [{name: %[4]s, port: %[5]d}]\nendpoints: [{addresses: [%[6]s], conditions: {ready: true}}]\n",
		s.Name, i, s.Namespace, s.PortName, a.Port(), a.Addr())
}
