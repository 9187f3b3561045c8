package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"fairlead.io/fairlead/pkg/report"
)

// ClientHost is the name that a Client calls the server by on a Unix socket.
const ClientHost = "fairlead"

// Client asks an admin interface.
type Client struct {
	address string
	base    string
	http    *http.Client
}

// NewClient makes a client for "127.0.0.1:15014" or "unix:/path".
func NewClient(address string) *Client {
	c := &Client{address: address, base: "http://" + address, http: &http.Client{Timeout: 30 * time.Second}}
	transport := &http.Transport{DisableKeepAlives: true}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		c.base = "http://" + ClientHost
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	}
	c.http.Transport = transport
	return c
}

// Raw gets a page as it is.
func (c *Client) Raw(ctx context.Context, path string) ([]byte, error) {
	body, err := c.open(ctx, path, c.http)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	page, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("ask server: %w", err)
	}
	return page, nil
}

// open asks for a page, to be read while it comes.
func (c *Client) open(ctx context.Context, path string, by *http.Client) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask server: %w", err)
	}
	return c.do(req, by)
}

// do sends a request; an answer other than 200 is an error.
func (c *Client) do(req *http.Request, by *http.Client) (io.ReadCloser, error) {
	res, err := by.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("ask server: %w", err)
	}
	var f Failure
	if json.Unmarshal(body, &f) == nil && f.Error != "" {
		return nil, errors.New(f.Error)
	}
	return nil, fmt.Errorf("ask server: %s: %s", res.Status, strings.TrimSpace(string(body)))
}

// unreachable says what to do when nobody answers.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("no server answers at %s: start `fairlead serve`, or name its --admin address with --server", c.address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("the admin socket %s belongs to another user: run this as the user of the server", c.address)
	}
	return fmt.Errorf("ask server at %s: %w", c.address, err)
}

func get[T any](ctx context.Context, c *Client, path string) (out T, err error) {
	body, err := c.Raw(ctx, path)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, fmt.Errorf("read the server's answer to %s: %w", path, err)
	}
	return out, nil
}

// Clients lists the connected Envoys.
func (c *Client) Clients(ctx context.Context) (Clients, error) {
	return get[Clients](ctx, c, "/api/clients")
}

// Config lists what a node has of a kind.
func (c *Client) Config(ctx context.Context, node, kind string) (NodeConfig, error) {
	return get[NodeConfig](ctx, c, "/api/config/"+url.PathEscape(node)+"/"+url.PathEscape(kind))
}

// Status is what is said about every object.
func (c *Client) Status(ctx context.Context) (report.Page, error) {
	return get[report.Page](ctx, c, "/api/status")
}

// Version is that of the server.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return get[Version](ctx, c, "/api/version")
}
