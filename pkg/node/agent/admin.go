package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fairlead.io/fairlead/pkg/node/control"
	"fairlead.io/fairlead/pkg/node/keeper"
)

// Status is what /api/status tells: no key is in it.
type Status struct {
	Node       string            `json:"node"`
	Version    string            `json:"version"`
	Started    time.Time         `json:"started"`
	Control    control.State     `json:"control"`
	Signing    string            `json:"signing,omitempty"`
	Identities []keeper.Identity `json:"identities"`
	// Envoy counts the SDS streams.
	Envoy int `json:"envoy"`
	// Policy is nil where none is enforced.
	Policy *PolicyStatus `json:"policy,omitempty"`
	// NotReady is why /readyz fails; empty when it does not.
	NotReady string `json:"notReady,omitempty"`
}

func (a *agent) status() Status {
	s := Status{
		Node: a.cfg.Node, Version: a.cfg.Version, Started: a.started, Control: a.client.State(),
		Identities: a.keeper.Identities(), Envoy: len(a.sds.Clients()),
	}
	if b, _, err := a.keeper.Bundles(); err == nil {
		s.Signing = b.Signing
	}
	if a.enforcer != nil {
		s.Policy = a.enforcer.status()
	}
	s.NotReady = a.notReady(&s)
	return s
}

// notReady tells what is missing before pods can be served. A control plane that goes away later does not make the agent
// unready: what it has stays good.
func (a *agent) notReady(s *Status) string {
	switch {
	case s.Identities[0].State == keeper.Pending:
		return "the node has no SVID: " + orElse(s.Identities[0].Error, "it was not asked for yet")
	case !s.Control.Synced:
		return "the control plane has not told workloads and trust bundles yet: " + orElse(s.Control.Error, "no answer yet")
	case s.Policy != nil && !s.Policy.Enforcing:
		return "policy is not enforced yet: " + orElse(s.Policy.Problem, "not all of it is known")
	}
	return ""
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (a *agent) serveAdmin(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s := a.status(); s.NotReady != "" {
			http.Error(w, s.NotReady, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a.status())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve admin interface: %w", err)
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := server.Shutdown(late)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if ended := <-failed; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// FetchStatus asks a running agent at its admin address.
func FetchStatus(ctx context.Context, address string) (*Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/api/status", nil)
	if err != nil {
		return nil, err
	}
	res, err := client(address).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the agent at %s: %w; see --admin", address, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the agent at %s: %s", address, res.Status)
	}
	s := &Status{}
	if err := json.NewDecoder(res.Body).Decode(s); err != nil {
		return nil, fmt.Errorf("read the agent's answer: %w", err)
	}
	return s, nil
}

func client(address string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			if path, ok := strings.CutPrefix(address, "unix:"); ok {
				return d.DialContext(ctx, "unix", path)
			}
			return d.DialContext(ctx, "tcp", address)
		},
	}}
}
