package integration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/issue"
	"fairlead.io/fairlead/pkg/ca/store"
)

var caDomain = spiffeid.RequireTrustDomainFromString("cluster.local")

// caWorld is a real API server with two nodes and pods on them, and a Directory that watches it.
type caWorld struct {
	*testing.T
	kube      *kube.Server
	client    kubernetes.Interface
	ns        string
	pods      corelisters.PodLister
	nodes     corelisters.NodeLister
	authority *authority.Authority
}

func newCAWorld(t *testing.T) *caWorld {
	t.Helper()
	w := &caWorld{T: t, kube: kube.Start(t, kube.Options{})}
	w.ns = w.kube.Namespace(t)
	var err error
	if w.client, err = kubernetes.NewForConfig(w.kube.Config()); err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(w.client, 0)
	pods, nodes := factory.Core().V1().Pods(), factory.Core().V1().Nodes()
	w.pods, w.nodes = pods.Lister(), nodes.Lister()
	synced := []cache.InformerSynced{pods.Informer().HasSynced, nodes.Informer().HasSynced}
	ctx, cancel := context.WithCancel(context.Background())
	factory.Start(ctx.Done())
	w.authority = authority.New(authority.Config{TrustDomain: caDomain, Store: store.NewMemory()})
	done := make(chan error, 1)
	go func() { done <- w.authority.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		t.Fatal("the API server was not read")
	}
	<-w.authority.Ready()
	return w
}

// Pod implements ca.Directory.
func (w *caWorld) Pod(namespace, name string) (ca.Pod, bool) {
	p, err := w.pods.Pods(namespace).Get(name)
	if err != nil || p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed {
		return ca.Pod{}, false
	}
	return ca.Pod{PodRef: caRef(p), Node: p.Spec.NodeName}, true
}

func caRef(p *core.Pod) ca.PodRef {
	return ca.PodRef{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), ServiceAccount: p.Spec.ServiceAccountName}
}

// RunsOn implements ca.Directory.
func (w *caWorld) RunsOn(node, namespace, account string) bool {
	list, _ := w.pods.Pods(namespace).List(labels.Everything())
	for _, p := range list {
		if q, ok := w.Pod(namespace, p.Name); ok && q.Node == node && q.ServiceAccount == account {
			return true
		}
	}
	return false
}

// Runs implements ca.Directory.
func (w *caWorld) Runs(namespace, account string) bool {
	list, _ := w.pods.Pods(namespace).List(labels.Everything())
	for _, p := range list {
		if q, ok := w.Pod(namespace, p.Name); ok && q.Node != "" && q.ServiceAccount == account {
			return true
		}
	}
	return false
}

// Node implements ca.Directory.
func (w *caWorld) Node(name string) (string, bool) {
	n, err := w.nodes.Get(name)
	if err != nil {
		return "", false
	}
	return string(n.UID), true
}

// Gateway implements ca.Directory.
func (w *caWorld) Gateway(string, string, string) bool { return false }

// DNSNames implements ca.Directory.
func (w *caWorld) DNSNames(string, string) []string { return nil }

func (w *caWorld) node(name string) *core.Node {
	w.Helper()
	n, err := w.client.CoreV1().Nodes().Create(w.Context(), &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	w.until("node "+name, func() bool { uid, _ := w.Node(name); return uid == string(n.UID) })
	return n
}

func (w *caWorld) account(name string) {
	w.Helper()
	a := &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := w.client.CoreV1().ServiceAccounts(w.ns).Create(w.Context(), a, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

// pod makes a pod that is bound to a node, and runs.
func (w *caWorld) pod(name, account, node string) *core.Pod {
	w.Helper()
	p := w.create(name, account, node)
	w.until("pod "+name, func() bool { q, _ := w.Pod(w.ns, name); return q.UID == string(p.UID) })
	return p
}

func (w *caWorld) create(name, account, node string) *core.Pod {
	w.Helper()
	p, err := w.client.CoreV1().Pods(w.ns).Create(w.Context(), &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       core.PodSpec{ServiceAccountName: account, NodeName: node, Containers: []core.Container{{Name: "c", Image: "none"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func (w *caWorld) finish(p *core.Pod) {
	w.Helper()
	p = p.DeepCopy()
	p.Status.Phase = core.PodSucceeded
	if _, err := w.client.CoreV1().Pods(w.ns).UpdateStatus(w.Context(), p, metav1.UpdateOptions{}); err != nil {
		w.Fatal(err)
	}
	w.until("the end of pod "+p.Name, func() bool { _, ok := w.Pod(w.ns, p.Name); return !ok })
}

func (w *caWorld) deletePod(name string) {
	w.Helper()
	if err := w.client.CoreV1().Pods(w.ns).Delete(w.Context(), name, *metav1.NewDeleteOptions(0)); err != nil {
		w.Fatal(err)
	}
	w.until("no pod "+name, func() bool { _, ok := w.Pod(w.ns, name); return !ok })
}

func (w *caWorld) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("%s is not seen", what)
		}
	}
}

// token has the API server make a token that is bound to an object; nil for none.
func (w *caWorld) token(account string, bound *authentication.BoundObjectReference, audience string) string {
	w.Helper()
	seconds := int64(600)
	r, err := w.client.CoreV1().ServiceAccounts(w.ns).CreateToken(w.Context(), account, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds, BoundObjectRef: bound},
	}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return r.Status.Token
}

// podToken is a token as the kubelet mounts it into a pod.
func (w *caWorld) podToken(p *core.Pod) string {
	w.Helper()
	return w.token(p.Spec.ServiceAccountName, &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID}, "fairlead")
}

// caService is the service on a loopback TLS port.
type caService struct {
	address string
	roots   *x509.CertPool
	log     caLog
}

// serve starts the service. by is how it verifies tokens.
func (w *caWorld) serve(by string, now func() time.Time) *caService {
	w.Helper()
	s := &caService{roots: x509.NewCertPool()}
	logger := slog.New(slog.NewJSONHandler(&s.log, nil))
	cfg := authn.Config{
		TrustDomain: caDomain, Directory: w, Audiences: []string{"fairlead", "istio-ca"}, Log: logger, Now: now,
		Roots:      func(spiffeid.TrustDomain) []*x509.Certificate { return w.authority.State().Roots() },
		NodeAgents: []authn.ServiceAccount{{Namespace: w.ns, Name: "agent"}},
		Review:     w.client.AuthenticationV1().TokenReviews(),
	}
	if by == "token-jwks" {
		cfg.Keys = authn.KeysOfCluster(w.client.Discovery().RESTClient())
	}
	proof, err := authn.New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	service, err := issue.New(issue.Config{TrustDomain: caDomain, Authority: w.authority, Authn: proof, Directory: w, Log: logger})
	if err != nil {
		w.Fatal(err)
	}
	key := caKey(w)
	x, err := w.authority.SignX509(authority.X509Template{
		ID: spiffeid.RequireFromSegments(caDomain, "ns", "fairlead-system", "sa", "fairlead"), PublicKey: key.Public(), TTL: time.Hour, DNSNames: []string{"localhost"},
	})
	if err != nil {
		w.Fatal(err)
	}
	for _, root := range w.authority.State().Roots() {
		s.roots.AddCert(root)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(issue.MaxMessage), grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: x.Raw, PrivateKey: key}}, MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequestClientCert, // the service is to know by itself whom to believe
	})))
	service.Register(server)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	s.address = lis.Addr().String()
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	w.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
	return s
}

func (s *caService) dial(t testing.TB, certs ...tls.Certificate) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: s.roots, ServerName: "localhost", Certificates: certs, MinVersion: tls.VersionTLS13,
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// sign asks for one certificate, and gives its identity, or the refusal.
func (s *caService) sign(t testing.TB, token string, subject *cav1.Subject, certs ...tls.Certificate) (id string, err error) {
	t.Helper()
	ctx := t.Context()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, caKey(t))
	if err != nil {
		t.Fatal(err)
	}
	res, err := cav1.NewCertificateAuthorityClient(s.dial(t, certs...)).SignX509(ctx, &cav1.SignX509Request{Certificates: []*cav1.X509Request{{Csr: csr, Subject: subject}}})
	if err != nil {
		return "", err
	}
	if e := res.GetResults()[0].GetError(); e != nil {
		return "", fmt.Errorf("%d: %s", e.GetCode(), e.GetMessage())
	}
	return res.GetResults()[0].GetSvid().GetSpiffeId(), nil
}

func caKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// caLog keeps the audit records.
type caLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *caLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take gives the audit records since the last time.
func (l *caLog) take(t testing.TB) (out []map[string]string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := json.NewDecoder(&l.b); d.More(); {
		var line struct{ Audit map[string]string }
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Audit != nil {
			out = append(out, line.Audit)
		}
	}
	l.b.Reset()
	return out
}
