package kube

import (
	"context"
	"fmt"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Main runs the tests of a package against one server, and returns the exit code. Each test takes a Namespace of its own:
//
//	var server *kube.Server
//
//	func TestMain(m *testing.M) { os.Exit(kube.Main(m, &server, kube.Options{}, "../../crds")) }
//
// The CRDs (files or folders; none is fine) are installed first.
func Main(m interface{ Run() int }, server **Server, o Options, crds ...string) int {
	s, err := Run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := runWith(s, m, server, crds)
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func runWith(s *Server, m interface{ Run() int }, server **Server, crds []string) int {
	if len(crds) > 0 {
		if err := s.InstallCRDs(context.Background(), crds...); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s\n", err, s.Log())
			return 1
		}
	}
	*server = s
	return m.Run()
}

// Namespace makes a namespace for t and returns its name. It stays until the server stops, as nothing finalises it.
func (s *Server) Namespace(t testing.TB) string {
	t.Helper()
	c := s.Config()
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	core, err := typedcorev1.NewForConfigAndClient(c, client)
	if err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "test-", Annotations: map[string]string{"fairlead.io/test": t.Name()},
	}}
	made, err := core.Namespaces().Create(context.Background(), ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create namespace: %v", err)
	}
	return made.Name
}
