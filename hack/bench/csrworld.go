package main

import (
	"context"
	"errors"
	"fmt"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/integration/kube"
)

const (
	podsOfNode = 20 // beside its agent's own
	// What Fairlead takes for its node agents unless told otherwise.
	agentHome, agentAccount = "fairlead-system", "fairlead-node"
	podAccount              = "web"
	csrTrustDomain          = "cluster.local"
)

// csrWorld are nodes that run one agent and some pods each, in an API server: as many as have been asked for so far.
type csrWorld struct {
	api        *kube.Server
	kubeconfig string
	client     kubernetes.Interface
	nodes      []csrNode
}

// csrNode is a node with what runs on it.
type csrNode struct {
	name, uid string
	agent     podOfNode
	pods      [podsOfNode]podOfNode
}

type podOfNode struct{ namespace, name, account, uid string }

func (n csrNode) identity() string {
	return fmt.Sprintf("spiffe://%s/node/%s/%s", csrTrustDomain, n.name, n.uid)
}

func (p podOfNode) identity() string {
	return fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", csrTrustDomain, p.namespace, p.account)
}

// newCSRWorld starts an API server without any node; the caller stops it.
func newCSRWorld(ctx context.Context, crds []string) (*csrWorld, error) {
	api, err := kube.Run(kube.Options{APIServerArgs: []string{"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000"}})
	if err != nil {
		return nil, err
	}
	w := &csrWorld{api: api}
	if err := w.begin(ctx, crds); err != nil {
		return nil, fmt.Errorf("make a world: %w", errors.Join(err, api.Stop()))
	}
	return w, nil
}

func (w *csrWorld) begin(ctx context.Context, crds []string) (err error) {
	if err := w.api.InstallCRDs(ctx, crds...); err != nil {
		return err
	}
	if w.kubeconfig, err = w.api.Kubeconfig(); err != nil {
		return err
	}
	config := w.api.Config()
	config.ContentType = "application/vnd.kubernetes.protobuf"
	if w.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	accounts := map[string]string{agentHome: agentAccount, "istio-system": "istiod"}
	for i := range podsOfNode {
		accounts[namespaceOf(i)] = podAccount
	}
	for namespace, account := range accounts {
		ns := &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		if _, err := w.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		sa := &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
		if _, err := w.client.CoreV1().ServiceAccounts(namespace).Create(ctx, sa, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// grow adds nodes until there are n.
func (w *csrWorld) grow(ctx context.Context, n int) error {
	had := len(w.nodes)
	w.nodes = append(w.nodes, make([]csrNode, max(0, n-had))...)
	added := w.nodes[had:]
	err := writeAll(ctx, "nodes", len(added), func(ctx context.Context, i int) error {
		name := fmt.Sprintf("node-%d", had+i)
		o := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}}}
		made, err := w.client.CoreV1().Nodes().Create(ctx, o, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		added[i].name, added[i].uid = name, string(made.UID)
		return nil
	})
	if err != nil {
		return err
	}
	const each = podsOfNode + 1
	return writeAll(ctx, "pods of nodes", len(added)*each, func(ctx context.Context, i int) (err error) {
		node, k := &added[i/each], i%each
		if k == podsOfNode {
			node.agent, err = w.pod(ctx, podOfNode{agentHome, "agent-" + node.name, agentAccount, ""}, node.name)
		} else {
			node.pods[k], err = w.pod(ctx, podOfNode{namespaceOf(k), "web-" + node.name, podAccount, ""}, node.name)
		}
		return err
	})
}

// pod makes a pod that is bound to a node and has not finished.
func (w *csrWorld) pod(ctx context.Context, p podOfNode, node string) (podOfNode, error) {
	no := false
	made, err := w.client.CoreV1().Pods(p.namespace).Create(ctx, &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, Labels: map[string]string{"app": p.account}},
		Spec: core.PodSpec{
			NodeName: node, ServiceAccountName: p.account, AutomountServiceAccountToken: &no,
			Containers: []core.Container{{Name: "app", Image: "app"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return p, err
	}
	p.uid = string(made.UID)
	return p, nil
}

// token is a ServiceAccount token that the API server makes for the pod, as a kubelet asks for it.
func (w *csrWorld) token(ctx context.Context, p podOfNode, audience string) (string, error) {
	hours := int64(4 * 3600)
	made, err := w.client.CoreV1().ServiceAccounts(p.namespace).CreateToken(ctx, p.account, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{
			Audiences: []string{audience}, ExpirationSeconds: &hours,
			BoundObjectRef: &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.name, UID: types.UID(p.uid)},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("ask for a token of %s/%s: %w", p.namespace, p.name, err)
	}
	return made.Status.Token, nil
}
