package cluster

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/integration/kube"
)

const serverURL = "https://" + controlPlaneIP + ":6443"

// users are those that have a kubeconfig: its name, that of the user, and its group.
var users = []struct{ file, name, group string }{
	{"admin", "admin", kube.Administrators},
	{"controller-manager", "system:kube-controller-manager", ""},
	{"scheduler", "system:kube-scheduler", ""},
	{"proxy", "system:kube-proxy", ""},
}

func (c *Cluster) pki(file string) string { return filepath.Join(c.dir, "pki", file) }

func (c *Cluster) kubeconfig(user string) string { return filepath.Join(c.dir, user+".kubeconfig") }

func (c *Cluster) makePKI() error {
	p, err := kube.NewPKI(filepath.Join(c.dir, "pki"))
	if err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	err = p.Serve("apiserver", names, net.IPv4(127, 0, 0, 1), net.ParseIP(controlPlaneIP), net.ParseIP(firstServiceIP))
	if err != nil {
		return err
	}
	cert, key, err := p.Client("kube-apiserver", kube.Administrators)
	if err != nil {
		return err
	}
	if err := p.Write("apiserver-kubelet", cert, key); err != nil {
		return err
	}
	for _, u := range users {
		if err := c.makeKubeconfig(p, u.file, u.name, u.group); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) makeKubeconfig(p *kube.PKI, file, name, group string) error {
	groups := []string{group}
	if group == "" {
		groups = nil
	}
	cert, key, err := p.Client(name, groups...)
	if err != nil {
		return err
	}
	return kube.WriteKubeconfig(c.kubeconfig(file), serverURL, p.CA, cert, key)
}

// controlPlane are the daemons in the order of their start.
var controlPlane = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// startControlPlane returns when the API server is ready. Its clients are started then: they give up when the rights that it
// makes for them at its start are not there yet.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	if err := c.makePKI(); err != nil {
		return err
	}
	if err := c.startControl("etcd"); err != nil {
		return err
	}
	if err := c.APIServerUp(ctx); err != nil {
		return err
	}
	if err := c.startControl("kube-controller-manager"); err != nil {
		return err
	}
	return c.startControl("kube-scheduler")
}

// startControl starts one of the control plane's daemons.
func (c *Cluster) startControl(name string) error {
	args := append([]string{"--net=" + netnsPath(c.controlPlaneNetns()), c.tools[name]}, c.controlArgs(name)...)
	return c.daemon(name, exec.Command("nsenter", args...))
}

func (c *Cluster) controlArgs(name string) []string {
	follow := func(user string) []string {
		config := c.kubeconfig(user)
		return []string{
			"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--leader-elect=false", "--bind-address=127.0.0.1",
		}
	}
	switch name {
	case "etcd":
		return []string{"--data-dir=" + filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn"}
	case "kube-apiserver":
		return slices.Concat([]string{
			"--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443", "--bind-address=0.0.0.0", "--advertise-address=" + controlPlaneIP,
			"--tls-cert-file=" + c.pki("apiserver.crt"), "--tls-private-key-file=" + c.pki("apiserver.key"),
			"--client-ca-file=" + c.pki("ca.crt"), "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + c.pki("sa.key"), "--service-account-signing-key-file=" + c.pki("sa.key"),
			"--kubelet-client-certificate=" + c.pki("apiserver-kubelet.crt"), "--kubelet-client-key=" + c.pki("apiserver-kubelet.key"),
			"--kubelet-certificate-authority=" + c.pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
			"--service-cluster-ip-range=" + c.families(serviceRange, serviceRange6), "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true", "--profiling=false",
		}, c.Options.APIServerArgs)
	case "kube-controller-manager":
		return append(follow("controller-manager"), "--root-ca-file="+c.pki("ca.crt"), "--use-service-account-credentials=true",
			"--service-account-private-key-file="+c.pki("sa.key"),
			"--cluster-signing-cert-file="+c.pki("ca.crt"), "--cluster-signing-key-file="+c.pki("ca.key"))
	default:
		return follow("scheduler")
	}
}

// APIServerDown kills the API server, and keeps its etcd: to its clients, an outage. APIServerUp ends it.
func (c *Cluster) APIServerDown() error { return c.stop("kube-apiserver", 0) }

// APIServerUp starts the API server again after APIServerDown, and returns when it is ready.
func (c *Cluster) APIServerUp(ctx context.Context) error {
	if err := c.startControl("kube-apiserver"); err != nil {
		return err
	}
	client, done, err := c.client()
	if err != nil {
		return err
	}
	defer done()
	return poll(ctx, "kube-apiserver", func() error {
		for _, name := range []string{"etcd", "kube-apiserver"} {
			if _, err := c.pid(name); err != nil {
				return stopped{err}
			}
		}
		return client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// waitNodes waits until the nodes are Ready.
func (c *Cluster) waitNodes(ctx context.Context, nodes ...*Node) error {
	client, done, err := c.client()
	if err != nil {
		return err
	}
	defer done()
	return each(nodes, func(n *Node) error {
		return poll(ctx, "node "+n.Name, func() error {
			if _, err := n.cluster.pid(n.daemon("kubelet")); err != nil {
				return stopped{err}
			}
			return n.ready(ctx, client)
		})
	})
}

func (n *Node) ready(ctx context.Context, client kubernetes.Interface) error {
	node, err := client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && condition.LastHeartbeatTime.After(n.booted) {
			return nil
		}
	}
	return fmt.Errorf("it is not Ready: %v", node.Status.Conditions)
}

// waitDefaultAccount waits for what the first pod of a namespace needs.
func (c *Cluster) waitDefaultAccount(ctx context.Context) error {
	client, done, err := c.client()
	if err != nil {
		return err
	}
	defer done()
	return poll(ctx, "service account default", func() error {
		if _, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
}

// stopped is an error that waiting does not mend.
type stopped struct{ error }

// poll asks until it gets no error, or until ctx is over.
func poll(ctx context.Context, what string, ask func() error) error {
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if _, final := err.(stopped); final {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
