package mesh

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Request is what a client sends. The zero value of a field is the plain thing: GET / by HTTP/1.1 without TLS.
type Request struct {
	Port   int    // of a gateway; 80 by default, 443 with TLS
	To     string // "ip:port", where that is no gateway of the mesh
	Host   string
	Path   string // with the query
	Method string
	Header []string // "name: value"
	Body   string
	// TLS is the client's side; its ServerName defaults to Host.
	TLS *tls.Config
	// HTTP2 speaks HTTP/2: by prior knowledge without TLS, by ALPN with it.
	HTTP2 bool
}

// Response is what came back.
type Response struct {
	Status int
	Header http.Header
	Body   string
	// Echo is what the backend saw; its Backend is empty when no backend answered.
	Echo Echo
	// TLS is the connection's state, nil without TLS.
	TLS *tls.ConnectionState
}

// Do sends one request on a connection of its own and follows no redirect.
func (m *Mesh) Do(r Request) (Response, error) {
	to, err := m.destination(r)
	if err != nil {
		return Response{}, err
	}
	req, err := r.build(to)
	if err != nil {
		return Response{}, err
	}
	tr := r.transport(to)
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	res, err := tr.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return Response{}, fmt.Errorf("request %s%s: %w", r.Host, r.Path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return Response{}, fmt.Errorf("request %s%s: read answer: %w", r.Host, r.Path, err)
	}
	out := Response{Status: res.StatusCode, Header: res.Header, Body: string(body), TLS: res.TLS}
	if json.Unmarshal(body, &out.Echo) != nil {
		out.Echo = Echo{} // not from a Backend
	}
	return out, nil
}

func (m *Mesh) destination(r Request) (netip.AddrPort, error) {
	if r.To != "" {
		return netip.ParseAddrPort(r.To)
	}
	switch {
	case r.Port != 0:
	case r.TLS != nil:
		r.Port = 443
	default:
		r.Port = 80
	}
	return netip.AddrPortFrom(m.Address, uint16(r.Port)), nil
}

func (r Request) build(to netip.AddrPort) (*http.Request, error) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	path := r.Path
	if path == "" {
		path = "/"
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, scheme+"://"+to.String()+"/", bytes.NewReader([]byte(r.Body)))
	if err != nil {
		return nil, err
	}
	// The path goes out as it is written here, escapes included.
	p, query, _ := strings.Cut(path, "?")
	req.URL.Opaque, req.URL.RawQuery = "", query
	if req.URL.Path, err = url.PathUnescape(p); err != nil {
		return nil, err
	}
	req.URL.RawPath = p
	if r.Host != "" {
		req.Host = r.Host
	}
	for _, h := range r.Header {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	return req, nil
}

func (r Request) transport(to netip.AddrPort) *http.Transport {
	tr := &http.Transport{
		DisableCompression: true, // it would add a header
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: 10 * time.Second}
			return d.DialContext(ctx, "tcp", to.String())
		},
	}
	tr.Protocols = &http.Protocols{}
	tr.Protocols.SetHTTP1(!r.HTTP2)
	if r.TLS == nil {
		tr.Protocols.SetUnencryptedHTTP2(r.HTTP2)
		return tr
	}
	tr.Protocols.SetHTTP2(r.HTTP2)
	tr.TLSClientConfig = r.TLS.Clone()
	if tr.TLSClientConfig.ServerName == "" {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		tr.TLSClientConfig.ServerName = host
	}
	return tr
}

// MustDo is Do where a transport error fails t.
func (m *Mesh) MustDo(t testing.TB, r Request) Response {
	t.Helper()
	res, err := m.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// WaitStatus waits until the request is answered by a status, and gives that answer.
func (m *Mesh) WaitStatus(t testing.TB, r Request, status int) Response {
	t.Helper()
	var res Response
	Eventually(t, func() (err error) {
		if res, err = m.Do(r); err != nil {
			return err
		}
		if res.Status != status {
			return fmt.Errorf("%s %s%s: status %d, want %d; body %q", r.Method, r.Host, r.Path, res.Status, status, res.Body)
		}
		return nil
	})
	return res
}

// WaitBackend waits until a backend with this name answers the request by 200.
func (m *Mesh) WaitBackend(t testing.TB, r Request, backend string) Response {
	t.Helper()
	var res Response
	Eventually(t, func() (err error) {
		if res, err = m.Do(r); err != nil {
			return err
		}
		if res.Status != http.StatusOK || res.Echo.Backend != backend {
			return fmt.Errorf("%s%s: status %d from %q, want 200 from %q; body %q", r.Host, r.Path, res.Status, res.Echo.Backend, backend, res.Body)
		}
		return nil
	})
	return res
}
