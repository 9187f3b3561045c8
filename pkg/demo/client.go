package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// answer is what a request through the Envoy gave.
type answer struct {
	code    int
	header  http.Header
	took    time.Duration
	backend string
}

// client sends requests to ports of this machine by any host name.
type client struct{ http *http.Client }

func newClient() *client {
	return &client{&http.Client{
		Timeout:       20 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// get asks for http://127.0.0.1:port/path as host; headers come in pairs.
func (c *client) get(ctx context.Context, port int, host, path string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		return answer{}, fmt.Errorf("ask %s: %w", host, err)
	}
	req.Host = host
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	start := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("ask %s: %w", host, err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return answer{}, fmt.Errorf("ask %s: %w", host, err)
	}
	return answer{res.StatusCode, res.Header, time.Since(start), res.Header.Get("x-backend")}, nil
}
