package install_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/cluster/install"
	"fairlead.io/fairlead/pkg/bootstrap"
)

// envoyIsTheNode shows that the Envoy of a node has nothing but the node's SVID to prove itself with, and that its stream lives.
func envoyIsTheNode(t *testing.T, c *cluster.Cluster, n *cluster.Node) {
	t.Helper()
	pod := agentOf(t, c, n, "fairlead-envoy")
	volumes, err := c.Kubectl(t.Context(), "", "get", "-n", install.Namespace, pod, "-o", "jsonpath={.spec.volumes}")
	must(t, c, err)
	if strings.Contains(volumes, "serviceAccountToken") {
		t.Errorf("Envoy has a token: %s", volumes)
	}
	get, done := forward(t, c, pod, "19000")
	defer done()
	id := "spiffe://cluster.local/node/" + n.Name + "/" + uid(t, c, "node", n.Name)
	until(t, c, "find the stream of "+pod, func() error {
		certs, err := get("/certs")
		if err != nil {
			return err
		}
		var shown struct {
			Certificates []struct {
				Chain []struct {
					Names []struct{ URI string } `json:"subject_alt_names"`
				} `json:"cert_chain"`
			}
		}
		if err := json.Unmarshal([]byte(certs), &shown); err != nil {
			return err
		}
		for _, cert := range shown.Certificates {
			for _, leaf := range cert.Chain[:min(1, len(cert.Chain))] {
				if len(leaf.Names) != 1 || leaf.Names[0].URI != id {
					t.Errorf("Envoy of %s has a certificate for %v", n.Name, leaf.Names)
				}
			}
		}
		if !strings.Contains(certs, id) {
			return fmt.Errorf("no certificate for %s: %s", id, certs)
		}
		stats, err := get("/stats")
		for _, want := range []string{"control_plane.connected_state: 1\n", "cluster." + bootstrap.XDSCluster + ".ssl.versions.TLSv1.3: "} {
			if err == nil && !strings.Contains(stats, want) {
				err = fmt.Errorf("no %q in its stats", want)
			}
		}
		return err
	})
	// And the server serves it as that node, by one of the replicas.
	until(t, c, "find the client "+n.Name, func() error {
		for _, r := range servers(t, c) {
			out, err := c.Exec(t.Context(), install.Namespace, r, "fairlead", "proxy-status", n.Name, "-o", "json")
			if err == nil && strings.Contains(out, `"envoy"`) {
				return nil
			}
		}
		return fmt.Errorf("no replica serves the Envoy of %s", n.Name)
	})
}

// forward leads to a port of a pod; get asks for a path there.
func forward(t *testing.T, c *cluster.Cluster, pod, port string) (get func(path string) (string, error), done func()) {
	t.Helper()
	address, stop := forwardPort(t, c, pod, port)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return c.Dial(ctx, network, address)
	}}
	client := &http.Client{Transport: transport, Timeout: cluster.Patience}
	get = func(path string) (string, error) {
		res, err := client.Get("http://" + address + path)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return string(body), err
	}
	return get, func() {
		transport.CloseIdleConnections()
		stop()
	}
}

// forwardPort gives the address in the control plane's namespace where a port of a pod of Fairlead is, until stop.
func forwardPort(t *testing.T, c *cluster.Cluster, pod, port string) (address string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.KubectlCommand(ctx, "port-forward", "-n", install.Namespace, pod, ":"+port)
	out, err := cmd.StdoutPipe()
	must(t, c, err)
	must(t, c, cmd.Start())
	stop = func() {
		cancel()
		_ = cmd.Wait() // killed
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address, _, ok := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " -> ")
	if err != nil || !ok {
		stop()
		must(t, c, fmt.Errorf("forward port %s of %s: %q: %w", port, pod, line, err))
	}
	return address, stop
}
