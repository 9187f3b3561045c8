package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/pkg/admin"
)

// The command, on a real API server: it is ready when all is read, and a VirtualService that is created then is answered.
func TestServeKube(t *testing.T) {
	t.Parallel()
	api := kube.Start(t, kube.Options{})
	if err := api.InstallCRDs(t.Context(), "../../crds"); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := api.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "fl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	env := environment{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: os.Getenv}
	address := "unix:" + filepath.Join(dir, "a")
	go func() {
		ended <- execute(ctx, env, []string{
			"serve", "--source=kube", "--kubeconfig", kubeconfig, "--xds-address", "unix:" + filepath.Join(dir, "x"), "--admin", address,
		})
	}()
	client := admin.NewClient(address)
	eventually(t, func() error { _, err := client.Raw(t.Context(), "/readyz"); return err })

	core := kubernetes.NewForConfigOrDie(api.Config())
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "app"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	if _, err := core.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	vs := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "fairlead.io/v1alpha1", "kind": "VirtualService", "metadata": map[string]any{"name": "app"},
		"spec": map[string]any{"hosts": []any{"app"}, "http": []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": "nowhere"}}}}}},
	}}
	resource := schema.GroupVersionResource{Group: "fairlead.io", Version: "v1alpha1", Resource: "virtualservices"}
	if _, err := dynamic.NewForConfigOrDie(api.Config()).Resource(resource).Namespace("default").Create(t.Context(), vs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		page, err := client.Status(t.Context())
		if err != nil {
			return err
		}
		if !says(page, "VirtualService default/app", "nowhere.default.svc.cluster.local") {
			return errors.New("the VirtualService's dangling reference is not said")
		}
		return nil
	})
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("serve ends with %d", code)
	}
}

// eventually polls until fn has no objection.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(10 * time.Millisecond) {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
