package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fairlead.io/fairlead/pkg/process"
)

// readyTimeout bounds the start of a server under test, and stopGrace its end.
const (
	readyTimeout = 5 * time.Minute
	stopGrace    = 10 * time.Second
)

// server is a control plane under test, a process of its own.
type server struct {
	name    string
	process *process.Process
	xds     string // where it serves delta ADS
	tls     string // where it signs certificates
	admin   string // "http://127.0.0.1:PORT"
	ready   string // the path that says 200 when it is
}

// kindOfServer is how a control plane is started and spoken to.
type kindOfServer struct {
	name              string
	class, controller string        // of its Gateway
	quiet             time.Duration // a pause this long means that it is through with a change
	start             func(dir, binary, config string) (*server, error)
}

func fairleadKind() kindOfServer {
	return kindOfServer{"fairlead", "fairlead", "fairlead.io/gateway-controller", 150 * time.Millisecond, startFairlead}
}

// istiodKind collects changes for 100 ms before it looks at them, and its pushes have pauses.
func istiodKind() kindOfServer {
	return kindOfServer{"istiod", "istio", "istio.io/gateway-controller", 500 * time.Millisecond, func(dir, binary, config string) (*server, error) {
		return startIstiod(dir, binary, config)
	}}
}

func startFairlead(dir, binary, kubeconfig string) (*server, error) {
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	s := &server{name: "fairlead", xds: addresses[0], admin: "http://" + addresses[1], ready: "/readyz"}
	s.process, err = process.Start(s.name, dir, binary, "serve", "--source=kube", "--kubeconfig="+kubeconfig, "--compat=istio",
		"--xds-address="+s.xds, "--admin="+addresses[1], "--log-level=warn")
	return s, err
}

// istiodRequests is how many requests a second istiod admits here; its own choice (25 on small machines) would only measure that.
const istiodRequests = "PILOT_MAX_REQUESTS_PER_SECOND=100000"

// startIstiod takes further arguments of istiod.
func startIstiod(dir, binary, kubeconfig string, more ...string) (*server, error) {
	addresses, err := freeAddresses(5)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "mesh")
	text := "rootNamespace: istio-system\ntrustDomain: cluster.local\nenablePrometheusMerge: false\n" +
		"defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s := &server{name: "istiod", xds: addresses[0], tls: addresses[2], admin: "http://" + addresses[1], ready: "/ready"}
	args := append([]string{
		"POD_NAME=istiod-0", "POD_NAMESPACE=istio-system", "CLUSTER_ID=Kubernetes", "REVISION=default", "PILOT_CERT_PROVIDER=istiod",
		"ISTIOD_ADDR=istiod.istio-system.svc:15012", "AUTO_RELOAD_PLUGIN_CERTS=false", "GOMEMLIMIT=12GiB",
		"PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER=true", istiodRequests,
		binary, "discovery", "--kubeconfig=" + kubeconfig, "--meshConfig=" + config,
		"--grpcAddr=" + s.xds, "--httpAddr=" + addresses[1], "--secureGRPCAddr=" + addresses[2], "--httpsAddr=" + addresses[3],
		"--monitoringAddr=" + addresses[4], "--ctrlz_port=0", "--keepaliveMaxServerConnectionAge=24h", "--log_output_level=all:warn",
	}, more...)
	s.process, err = process.Start(s.name, dir, "/usr/bin/env", args...)
	return s, err
}

// waitReady returns when the server says that it is ready.
func (s *server) waitReady(ctx context.Context) error {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	return s.process.Wait(readyTimeout, func() error {
		if ctx.Err() != nil {
			return nil // the caller looks
		}
		res, err := client.Get(s.admin + s.ready)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
			return fmt.Errorf("%s says %s: %s", s.ready, res.Status, text)
		}
		return nil
	})
}

func (s *server) pid() int { return s.process.Pid() }

// freeAddresses are loopback addresses whose ports nobody uses at this moment.
func freeAddresses(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // all of them at the end, so that they differ
		out = append(out, l.Addr().String())
	}
	return out, nil
}
