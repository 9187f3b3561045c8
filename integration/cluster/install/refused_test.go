package install_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/cluster/install"
)

// strangers shows that an identity of the mesh is not yet a right to call.
func strangers(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	out, err := c.Exec(t.Context(), "default", "stranger", "/probe", "svid", socket, "30")
	must(t, c, err)
	if !strings.HasPrefix(out, accounts+"stranger ") {
		t.Errorf("the stranger is %q", out)
	}
	until(t, c, "the stranger calls", func() error {
		out, err := c.Exec(t.Context(), "default", "stranger", "/probe", "tls-get", socket, serverURL, "1")
		if err == nil {
			t.Errorf("a server that serves its client only has served the stranger: %s", out)
		} else if !strings.Contains(err.Error(), "tls: bad certificate") {
			return err // Services and names have not come that far
		}
		return nil
	})
}

// special are pods with one of the node's namespaces, and one that a node runs by itself.
const special = `
apiVersion: v1
kind: Pod
metadata: {name: KIND}
spec:
  KIND: true
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: fairlead.test/probe:1
    imagePullPolicy: Never
    args: [serve, ":18080"]
    volumeMounts: [{name: spiffe, mountPath: /run/fairlead/workload, readOnly: true}]
  volumes: [{name: spiffe, hostPath: {path: /run/fairlead/workload, type: Directory}}]
`

// specials asks as pods with the node's namespaces, which have the identity of their account, and as a static pod, which can name no
// account and has none.
func specials(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	n := c.Nodes[0]
	text := strings.ReplaceAll(special, "NODE", n.Name)
	names := []string{"hostnetwork", "hostpid", "static-" + n.Name}
	lower := strings.NewReplacer("name: hostNetwork", "name: hostnetwork", "name: hostPID", "name: hostpid")
	must(t, c, c.Apply(t.Context(), lower.Replace(strings.ReplaceAll(text, "KIND", "hostNetwork")+"---"+strings.ReplaceAll(text, "KIND", "hostPID"))))
	cmd, err := n.Command(t.Context(), "tee", "/etc/kubernetes/manifests/static.yaml")
	must(t, c, err)
	cmd.Stdin = strings.NewReader(strings.NewReplacer("KIND: true", "hostPID: false", "KIND", "static").Replace(text))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("write manifest: %v: %s", err, out)
	}
	until(t, c, "find the static pod", func() error {
		_, err := c.Kubectl(t.Context(), "", "get", "pod", names[2])
		return err
	})
	ready(t, c, names...)
	for _, name := range names[:2] {
		out, err := c.Exec(t.Context(), "default", name, "/probe", "svid", socket, "30")
		must(t, c, err)
		if !strings.HasPrefix(out, accounts+"default ") {
			t.Errorf("pod %s is answered %q", name, out)
		}
	}
	out, err := c.Exec(t.Context(), "default", names[2], "/probe", "svid", socket, "30")
	if err == nil || !strings.Contains(err.Error(), "PermissionDenied") {
		t.Errorf("a static pod is answered %q (error %v)", out, err)
	}
}

// deletedPodsToken shows that a token ends with its pod, at every replica, and is no token of a later pod of that name.
func deletedPodsToken(t *testing.T, c *cluster.Cluster, bin string) {
	t.Helper()
	dir := t.TempDir()
	pod := oneOf("leaver", "client", "server", c.Nodes[1])
	must(t, c, c.Apply(t.Context(), pod))
	ready(t, c, "leaver")
	token, err := c.Exec(t.Context(), "default", "leaver", "cat", "/token/token")
	must(t, c, err)
	roots, err := c.Kubectl(t.Context(), "", "get", "configmap", "-n", install.Namespace, "fairlead-trust-bundle", "-o", `jsonpath={.data.root-cert\.pem}`)
	must(t, c, err)
	for name, data := range map[string]string{"token": token, "roots.pem": roots} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var addresses []string
	for _, r := range servers(t, c) {
		address, stop := forwardPort(t, c, r, "15012")
		defer stop()
		addresses = append(addresses, address)
	}
	ask := func(address string) (string, error) {
		out, err := c.Command(t.Context(), filepath.Join(bin, "fairlead"), "cert", "request", address, "--token", filepath.Join(dir, "token"),
			"--trust-bundle", filepath.Join(dir, "roots.pem"), "--out", filepath.Join(dir, "svid")).CombinedOutput()
		return string(out), err
	}
	refused := func(address string) error {
		if out, err := ask(address); err == nil {
			return fmt.Errorf("%s has signed: %s", address, out)
		} else if _, exited := err.(*exec.ExitError); !exited || !strings.Contains(out, "refused") && !strings.Contains(out, "Unauthenticated") {
			t.Errorf("%s does not refuse: %v: %s", address, err, out)
		}
		return nil
	}
	for _, a := range addresses {
		if out, err := ask(a); err != nil || !strings.Contains(out, accounts+"client") {
			t.Errorf("%s does not sign for a pod that runs: %v: %s", a, err, out)
		}
	}
	_, err = c.Kubectl(t.Context(), "", "delete", "pod", "leaver")
	must(t, c, err)
	for _, a := range addresses {
		until(t, c, "the pod is gone", func() error { return refused(a) })
	}
	must(t, c, c.Apply(t.Context(), pod))
	ready(t, c, "leaver")
	for _, a := range addresses {
		if err := refused(a); err != nil {
			t.Errorf("with another pod of that name: %v", err)
		}
	}
}
