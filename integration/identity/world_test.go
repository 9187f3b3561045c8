package identity_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/integration/kube"
)

// system is the namespace of an installation.
const system = "fairlead-system"

// patience is how long anything may take on a busy machine; nothing is asserted about how long it takes.
const patience = 60 * time.Second

// world is a cluster without kubelets: its nodes and pods are objects of a real API server, and the test does what a kubelet does.
type world struct {
	*testing.T
	api    *kube.Server
	client kubernetes.Interface
	config string // the administrator's kubeconfig
	dir    string
	// ttl is what agents ask for.
	ttl     time.Duration
	servers []*server
	agents  map[string]*agent
}

// newWorld starts an API server with the ServiceAccounts of an installation.
func newWorld(t *testing.T, ttl time.Duration) *world {
	t.Helper()
	w := &world{T: t, api: kube.Start(t, kube.Options{}), ttl: ttl, agents: map[string]*agent{}}
	if err := w.api.InstallCRDs(t.Context(), "../../crds"); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.config, err = w.api.Kubeconfig(); err != nil {
		t.Fatal(err)
	}
	if w.client, err = kubernetes.NewForConfig(w.api.Config()); err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its long names do not fit into a Unix socket's 107 bytes.
	if w.dir, err = os.MkdirTemp("", "id-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(w.dir) })
	for _, sa := range [][2]string{{system, "fairlead"}, {system, "fairlead-node"}, {"shop", "web"}, {"shop", "client"}} {
		w.account(sa[0], sa[1])
	}
	return w
}

// account makes a ServiceAccount, and its namespace where that is not there.
func (w *world) account(namespace, name string) {
	w.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := w.client.CoreV1().Namespaces().Create(w.Context(), ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		w.Fatal(err)
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := w.client.CoreV1().ServiceAccounts(namespace).Create(w.Context(), sa, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

// node makes a node that is ready.
func (w *world) node(name string) {
	w.Helper()
	n, err := w.client.CoreV1().Nodes().Create(w.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err == nil {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		_, err = w.client.CoreV1().Nodes().UpdateStatus(w.Context(), n, metav1.UpdateOptions{})
	}
	if err != nil {
		w.Fatal(err)
	}
}

// pod makes a pod that is bound to a node, and gives its UID.
func (w *world) pod(namespace, name, account, node string) string {
	w.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: account, Containers: []corev1.Container{{Name: "app", Image: "app"}},
		},
	}
	made, err := w.client.CoreV1().Pods(namespace).Create(w.Context(), p, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return string(made.UID)
}

// token writes a token that is bound to a pod into a file, as kubelets do for projected volumes.
func (w *world) token(namespace, pod, account, audience, file string) string {
	w.Helper()
	p, err := w.client.CoreV1().Pods(namespace).Get(w.Context(), pod, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	life := int64(3600)
	r, err := w.client.CoreV1().ServiceAccounts(namespace).CreateToken(w.Context(), account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{audience}, ExpirationSeconds: &life,
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod, UID: p.UID},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	path := filepath.Join(w.dir, file)
	if err := os.WriteFile(path, []byte(r.Status.Token), 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

// eventually polls until fn gives nil.
func (w *world) eventually(what string, fn func() error) {
	w.Helper()
	if err := poll(w.Context(), fn); err != nil {
		w.Fatalf("%s: %v", what, err)
	}
}

func poll(ctx context.Context, fn func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
