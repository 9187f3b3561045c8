package demo

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// backend is one HTTP server.
type backend struct {
	port   int
	server *http.Server
}

// backends are the servers that the manifests' endpoints lead to, by the port that the manifests call them.
type backends struct {
	byPort map[int]*backend
	wait   sync.WaitGroup
}

// startBackends opens a free loopback port for each port of the manifests.
func startBackends() (*backends, error) {
	b := &backends{byPort: map[int]*backend{}}
	for port, handler := range map[int]http.Handler{
		18101: named("catalog", nil), 18102: named("cart", nil), 18103: named("flaky", newFlaky()),
		18104: named("slow", http.HandlerFunc(slow)), 18105: named("reviews-v1", nil), 18106: named("reviews-v2", nil),
	} {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.stop()
			return nil, fmt.Errorf("start backend: %w", err)
		}
		one := &backend{port: lis.Addr().(*net.TCPAddr).Port, server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}}
		b.byPort[port] = one
		b.wait.Go(func() {
			if err := one.server.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
				panic(err) // a listener of our own that breaks ends the demo
			}
		})
	}
	return b, nil
}

func (b *backends) stop() {
	for _, one := range b.byPort {
		_ = one.server.Close()
	}
	b.wait.Wait()
}

// named answers 200 and says in x-backend who it is, after next has had its say.
func named(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-backend", name)
		if next != nil {
			next.ServeHTTP(w, r)
			return
		}
		fmt.Fprintf(w, "%s %s\n", name, r.URL.Path)
	})
}

// flaky fails each request twice, told apart by x-demo-id, and says at the third time how many attempts it saw.
type flaky struct {
	mu   sync.Mutex
	seen map[string]int
}

func newFlaky() *flaky { return &flaky{seen: map[string]int{}} }

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen[r.Header.Get("x-demo-id")]++
	n := f.seen[r.Header.Get("x-demo-id")]
	f.mu.Unlock()
	w.Header().Set("x-attempts", strconv.Itoa(n))
	if n < 3 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "flaky after %d attempts\n", n)
}

// slow takes two seconds, or until its client is tired of it.
func slow(w http.ResponseWriter, r *http.Request) {
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case <-r.Context().Done():
	case <-timer.C:
		fmt.Fprintln(w, "slow")
	}
}
