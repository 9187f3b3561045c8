package identity_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
)

// The workloads between which the Envoys speak.
const (
	webID    = "spiffe://cluster.local/ns/shop/sa/web"
	clientID = "spiffe://cluster.local/ns/shop/sa/client"
	serverID = "spiffe://cluster.local/ns/fairlead-system/sa/fairlead"
)

// envoy starts the Envoy of a node: its stream to the control plane, and what is in yaml, have their certificates from the agent.
func (a *agent) envoy(yaml string) *envoy.Envoy {
	a.w.Helper()
	return envoy.Start(a.w, envoy.Options{
		Config: bootstrap.Config{NodeID: a.node, TLS: &bootstrap.TLS{Address: a.w.servers[0].tls, SDS: "unix:" + a.sds, ServerID: serverID}},
		Args:   []string{"--config-yaml", yaml},
	})
}

// pair is web behind the Envoy of one node, and a client behind that of another.
type pair struct {
	w       *world
	in, out *envoy.Envoy
	address string // where plain requests become the client's
}

// mtls is between web and one client, with secrets from the agents.
func mtls(port int, client string) *envoy.MTLS {
	return &envoy.MTLS{Port: port, Server: webID, Client: client, Exact: true, Secrets: envoy.Secrets(bootstrap.AgentCluster, "DELTA_GRPC", "")}
}

// inbound starts the Envoy of web, which answers one identity at a port of this machine.
func (w *world) inbound(web *agent, client string) (*envoy.Envoy, int) {
	w.Helper()
	_, text, err := net.SplitHostPort(freeAddress(w))
	if err != nil {
		w.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		w.Fatal(err)
	}
	m := mtls(port, client)
	return web.envoy("static_resources: {listeners: [" + m.Inbound() + "]}"), port
}

// pair starts the Envoys, and returns when requests pass.
func (w *world) pair(web, client *agent) *pair {
	w.Helper()
	p := &pair{w: w}
	var port int
	p.in, port = w.inbound(web, clientID)
	m := mtls(port, clientID)
	p.out = client.envoy("static_resources: {listeners: [" + m.Outbound() + "], clusters: [" + m.Cluster() + "]}")
	var err error
	if p.address, err = p.out.WaitListener("out", patience); err != nil {
		w.Fatal(err)
	}
	w.eventually("requests pass", p.get)
	return p
}

// get sends one request, which takes a new connection and a new handshake.
func (p *pair) get() error {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	defer c.CloseIdleConnections()
	res, err := c.Get("http://" + p.address + "/")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(body) != "web") {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return err
}

// load sends requests until stop is called, which tells how many went through; every one that fails is an error of the test.
func (p *pair) load() (stop func() int64) {
	ctx, cancel := context.WithCancel(p.w.Context())
	var running sync.WaitGroup
	var good, bad atomic.Int64
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := p.get(); err == nil {
					good.Add(1)
				} else if bad.Add(1) <= 5 {
					p.w.Errorf("a request failed at %s: %v", time.Now().Format(time.TimeOnly), err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
	return func() int64 {
		p.w.Helper()
		cancel()
		running.Wait()
		if n := bad.Load(); n > 0 {
			p.w.Errorf("%d requests failed, %d went through", n, good.Load())
		}
		handshakes(p.w, p.in, "listener.*.ssl.fail_verify|listener.*.ssl.connection_error|listener.*.ssl.fail_verify_san")
		handshakes(p.w, p.out, "cluster.web.ssl.fail_verify|cluster.web.ssl.connection_error")
		return good.Load()
	}
}

// handshakes fails the test when an Envoy counted a handshake that failed.
func handshakes(w *world, e *envoy.Envoy, filter string) {
	w.Helper()
	stats, err := e.Stats(filter)
	if err != nil {
		w.Error(err)
	}
	for name, n := range stats {
		if n > 0 {
			w.Errorf("%s is %v", name, n)
		}
	}
}
