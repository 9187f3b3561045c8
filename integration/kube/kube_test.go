package kube_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.io/fairlead/integration/kube"
)

var server *kube.Server

func TestMain(m *testing.M) {
	standard, err := kube.GatewayAPICRDs("standard")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(shared{m, standard})
}

// shared runs the package's tests inside kube.Main, so that goleak also sees what Main leaves behind.
type shared struct {
	*testing.M
	crds string
}

func (s shared) Run() int { return kube.Main(s.M, &server, kube.Options{}, s.crds) }

var gateways = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}

func gateway(namespace, name string, port int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{
			"gatewayClassName": "fairlead",
			"listeners":        []any{map[string]any{"name": "http", "port": port, "protocol": "HTTP"}},
		},
	}}
}

func dynamicClient(t *testing.T, c *rest.Config) dynamic.Interface {
	t.Helper()
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	dyn, err := dynamic.NewForConfigAndClient(c, client)
	if err != nil {
		t.Fatal(err)
	}
	return dyn
}

func TestGatewayIsStoredAndCheckedBySchema(t *testing.T) {
	ctx, ns := context.Background(), server.Namespace(t)
	client := dynamicClient(t, server.Config()).Resource(gateways).Namespace(ns)
	if _, err := client.Create(ctx, gateway(ns, "edge", 8080), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := client.Get(ctx, "edge", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if class, _, _ := unstructured.NestedString(got.Object, "spec", "gatewayClassName"); class != "fairlead" || got.GetUID() == "" {
		t.Errorf("got %v", got.Object)
	}
	if _, err := client.Create(ctx, gateway(ns, "bad", 70000), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("port 70000: error %v, want Invalid", err)
	}
}

func TestRestartKeepsObjectsAndBreaksWatches(t *testing.T) {
	ctx := context.Background()
	s := kube.Start(t, kube.Options{}) // the second server of this process
	experimental, err := kube.GatewayAPICRDs("experimental")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.InstallCRDs(ctx, experimental); err != nil {
		t.Fatal(err)
	}
	path, err := s.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	ns := s.Namespace(t)
	client := dynamicClient(t, config).Resource(gateways).Namespace(ns)
	watch, err := client.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if _, err := client.Create(ctx, gateway(ns, "edge", 8080), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for open := true; open; {
		select {
		case _, open = <-watch.ResultChan():
		case <-deadline:
			t.Fatal("the watch outlived its server")
		}
	}
	if _, err := client.Get(ctx, "edge", metav1.GetOptions{}); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestInstallCRDsRefusesAFolderWithout(t *testing.T) {
	if err := server.InstallCRDs(context.Background(), t.TempDir()); err == nil {
		t.Error("no error for a folder without CRDs")
	}
}

func TestMissingBinarySaysMakeTools(t *testing.T) {
	t.Setenv("FAIRLEAD_CACHE", t.TempDir())
	if _, err := kube.Run(kube.Options{}); err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("error %v, want one that says make tools", err)
	}
}
