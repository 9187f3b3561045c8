package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/process"
)

// nodeID is what the server knows the demo's Envoy by.
const nodeID = "demo-node"

func (d *demo) envoyAdmin() string { return filepath.Join(d.dir, "envoy.sock") }

// startEnvoy runs an Envoy with a node's bootstrap and waits until it is live: every listener and route has come.
func (d *demo) startEnvoy(ctx context.Context) error {
	conf, err := bootstrap.Bootstrap(bootstrap.Config{
		NodeID: nodeID, Region: "demo", Zone: "a", XDS: d.control.XDS(), Admin: "unix:" + d.envoyAdmin(),
	})
	if err != nil {
		return err
	}
	file := filepath.Join(d.dir, "bootstrap.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		return fmt.Errorf("start envoy: %w", err)
	}
	d.envoy, err = process.Start("envoy", d.dir, d.cfg.Envoy, "-c", file, "--log-level", "warning", "--disable-hot-restart", "--concurrency", "2")
	if err != nil {
		return err
	}
	return d.envoy.Wait(30*time.Second, func() error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return ready(ctx, d.envoyAdmin())
	})
}

// ready asks Envoy's admin interface whether it is live.
func ready(ctx context.Context, socket string) error {
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy/ready", nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("envoy is not live: %s", res.Status)
	}
	return nil
}
