// Package admin is the server's interface for people and monitoring: health, metrics, what each node is served, what is said
// about each object, and why a row of a table is what it is.
//
// It stands beside the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK and only
// reads from it. Everything is plain HTTP on a Unix socket or a loopback address; private keys never leave the process.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// Engine is what the admin interface asks of the tables (*table.Engine).
type Engine interface {
	Why(table, key string) (table.WhyInfo, bool)
	Stats() []table.TableStat
	PassStats() table.PassStat
	Dump(table string) ([]table.DumpRow, bool)
	Waiting() int
	Snapshot() *table.Snapshot
}

// Barrier is what the admin interface asks of the barrier (*barrier.Barrier).
type Barrier interface {
	Wait(ctx context.Context, q barrier.Query, tell func(barrier.Answer)) barrier.Answer
	Absent() []barrier.Absent
}

// Config is what a Server shows. All but CA and Log are required.
type Config struct {
	Gatherer prometheus.Gatherer
	Engine   Engine
	// Ready tells why nodes are not served yet, nil when they are.
	Ready     func() error
	Source    snapshot.Source
	Clients   func() []push.ClientInfo
	Resources func(node string) []push.ClientResource
	Status    func() report.Page
	Barrier   Barrier
	// CA is the rotation of the authority; nil where there is none.
	CA CA
	// Certificates answers GET /api/certificates with who holds what; nil where nothing is signed.
	Certificates http.Handler
	Version      string
	Log          *slog.Logger
}

// Server is the admin interface.
type Server struct {
	cfg      Config
	http     *http.Server
	draining atomic.Bool
}

// New makes a server; Serve starts it.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg}
	s.http = &http.Server{
		Handler:           onlyLocal(s.routes()),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// Handler is the whole interface, for tests without a socket.
func (s *Server) Handler() http.Handler { return s.http.Handler }

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET /debug/why", s.why)
	mux.HandleFunc("GET /debug/tables", s.tables)
	mux.HandleFunc("GET /debug/dump", s.dump)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /api/version", s.version)
	mux.HandleFunc("GET /api/clients", s.clients)
	mux.HandleFunc("GET /api/config/{node}/{kind}", s.config)
	mux.HandleFunc("GET /api/status", s.status)
	mux.HandleFunc("GET /api/wait", s.wait)
	mux.HandleFunc("GET /api/explain", s.explain)
	mux.HandleFunc("GET /api/ca", s.ca)
	if s.cfg.Certificates != nil {
		mux.Handle("GET /api/certificates", s.cfg.Certificates)
	}
	mux.HandleFunc("POST /api/ca/{command}", s.caCommand)
	mux.HandleFunc("GET /{$}", s.index)
	return mux
}

// Serve answers on a listener until Close.
func (s *Server) Serve(lis net.Listener) error {
	if err := s.http.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Drain makes the server unready, so that nobody new is sent here.
func (s *Server) Drain() { s.draining.Store(true) }

// Close ends Serve and, after a moment for the requests under way, every connection.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.cfg.Log.Debug("requests were cut off", "error", err)
		_ = s.http.Close()
	}
}

// onlyLocal refuses what a web page could make a browser ask of a loopback address.
func onlyLocal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(host)
		if (ip == nil || !ip.IsLoopback()) && host != "localhost" && host != ClientHost {
			fail(w, http.StatusForbidden, "host "+r.Host+" is not this machine; ask by 127.0.0.1, localhost or the Unix socket")
			return
		}
		if r.Header.Get("Origin") != "" {
			fail(w, http.StatusForbidden, "requests of web pages are refused")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// answer writes a value as JSON.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client has gone
}

// Failure is the body of every answer that is not 200.
type Failure struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Failure{message})
}
