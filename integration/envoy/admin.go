package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// admin speaks HTTP to Envoy's admin interface, whose address ("127.0.0.1:port" or a socket's path) a restart may change.
type admin struct {
	address atomic.Pointer[string]
	client  *http.Client
}

func newAdmin() *admin {
	a := &admin{}
	var dialer net.Dialer
	a.client = &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true, // a kept connection of the process before a restart would fail the first request after it
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				if address := *a.address.Load(); strings.HasPrefix(address, "/") {
					return dialer.DialContext(ctx, "unix", address)
				} else {
					return dialer.DialContext(ctx, "tcp", address)
				}
			},
		},
	}
	return a
}

func (a *admin) setAddress(s string) { a.address.Store(&s) }

// AdminGet returns the body of an admin page ("/stats?filter=x"); a status other than 200 is an error with the body in it.
func (e *Envoy) AdminGet(path string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, "http://envoy"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask envoy %s: %w", path, err)
	}
	res, err := e.admin.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask envoy %s: %w", path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("ask envoy %s: %w", path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask envoy %s: %s: %s", path, res.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// Stats returns the counters and gauges whose names match the regular expression filter ("" matches all). A statistic of a
// cluster that has seen no traffic may be absent: the bootstrap defers them.
func (e *Envoy) Stats(filter string) (map[string]int64, error) {
	body, err := e.AdminGet("/stats?format=json&filter=" + url.QueryEscape(filter))
	if err != nil {
		return nil, err
	}
	var page struct {
		Stats []struct {
			Name  string          `json:"name"`
			Value json.RawMessage `json:"value"` // absent from histograms, a string in text readouts
		} `json:"stats"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, fmt.Errorf("read envoy's stats: %w", err)
	}
	stats := make(map[string]int64, len(page.Stats))
	for _, s := range page.Stats {
		if n, err := strconv.ParseInt(string(s.Value), 10, 64); err == nil {
			stats[s.Name] = n
		}
	}
	return stats, nil
}

// UpdateRejected returns how many updates Envoy has refused since its start, over every xDS type, and the names of the
// statistics that counted them ("listener_manager.lds.update_rejected"), sorted.
func (e *Envoy) UpdateRejected() (int64, []string, error) {
	stats, err := e.Stats(`\.update_rejected$`)
	if err != nil {
		return 0, nil, err
	}
	var sum int64
	var names []string
	for name, n := range stats {
		if n > 0 {
			sum += n
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return sum, names, nil
}

// ConfigDump returns Envoy's configuration as JSON, endpoints included; a refused resource is in it with its error_state.
func (e *Envoy) ConfigDump() ([]byte, error) { return e.AdminGet("/config_dump?include_eds") }

// ListenerAddr returns the address ("127.0.0.1:port", or a socket's path) where the listener name listens; with port 0 in its
// configuration, that is the port the kernel chose. An internal listener has no address, and is an error.
func (e *Envoy) ListenerAddr(name string) (string, error) {
	body, err := e.AdminGet("/listeners?format=json")
	if err != nil {
		return "", err
	}
	var page struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    uint16 `json:"port_value"`
				} `json:"socket_address"`
				Pipe struct {
					Path string `json:"path"`
				} `json:"pipe"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return "", fmt.Errorf("read envoy's listeners: %w", err)
	}
	var names []string
	for _, s := range page.Statuses {
		switch a := s.Address; {
		case s.Name != name:
			names = append(names, s.Name)
		case a.Pipe.Path != "":
			return a.Pipe.Path, nil
		case a.Socket.Port != 0:
			return net.JoinHostPort(a.Socket.Address, strconv.Itoa(int(a.Socket.Port))), nil
		}
	}
	return "", fmt.Errorf("find listener %q: envoy has no such address; others: %q", name, names)
}
