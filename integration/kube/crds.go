package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

const crdTimeout = time.Minute

// GatewayAPICRDs returns the folder of the Gateway API's CRDs of a channel, "standard" or "experimental", in the module that
// go.mod names.
func GatewayAPICRDs(channel string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find gateway-api module: %w: %s", err, &stderr)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "config", "crd", channel)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("find gateway-api CRDs: %w", err)
	}
	return dir, nil
}

// InstallCRDs applies the CRDs in files and in the *.yaml of folders (other kinds there are left out), and returns when each of
// them is established and each served version can be discovered.
func (s *Server) InstallCRDs(ctx context.Context, paths ...string) error {
	ctx, cancel := context.WithTimeout(ctx, crdTimeout)
	defer cancel()
	crds, err := readCRDs(paths)
	if err != nil {
		return fmt.Errorf("install CRDs: %w", err)
	}
	if len(crds) == 0 {
		return fmt.Errorf("install CRDs: none in %q", paths)
	}
	c := s.Config()
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return fmt.Errorf("install CRDs: %w", err)
	}
	defer client.CloseIdleConnections()
	dyn, err := dynamic.NewForConfigAndClient(c, client)
	if err != nil {
		return fmt.Errorf("install CRDs: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfigAndClient(c, client)
	if err != nil {
		return fmt.Errorf("install CRDs: %w", err)
	}
	for _, crd := range crds {
		o := metav1.ApplyOptions{FieldManager: "fairlead-test", Force: true}
		if _, err := dyn.Resource(crdResource).Apply(ctx, crd.GetName(), crd, o); err != nil {
			return fmt.Errorf("install CRD %s: %w", crd.GetName(), err)
		}
	}
	for _, crd := range crds {
		if err := waitServed(ctx, dyn, disco, crd.GetName()); err != nil {
			return fmt.Errorf("install CRD %s: wait until it is served: %w", crd.GetName(), err)
		}
	}
	return nil
}

func waitServed(ctx context.Context, dyn dynamic.Interface, disco *discovery.DiscoveryClient, name string) error {
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		crd, err := dyn.Resource(crdResource).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if !established(crd) {
			return false, nil
		}
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		for _, v := range versions {
			version, ok := v.(map[string]any)
			if !ok || version["served"] != true {
				continue
			}
			if !discovered(disco, fmt.Sprintf("%s/%s", group, version["name"]), plural) {
				return false, nil
			}
		}
		return true, nil
	})
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
			return true
		}
	}
	return false
}

// discovered says whether the group lists the plural; a group that is not there yet is an error of discovery, and a no.
func discovered(disco *discovery.DiscoveryClient, groupVersion, plural string) bool {
	list, err := disco.ServerResourcesForGroupVersion(groupVersion)
	if err != nil {
		return false
	}
	for _, r := range list.APIResources {
		if r.Name == plural {
			return true
		}
	}
	return false
}

func readCRDs(paths []string) ([]*unstructured.Unstructured, error) {
	var crds []*unstructured.Unstructured
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return nil, err
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			found, err := readCRDFile(file)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			crds = append(crds, found...)
		}
	}
	return crds, nil
}

func readCRDFile(file string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var crds []*unstructured.Unstructured
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		u := &unstructured.Unstructured{}
		if err := documents.Decode(&u.Object); errors.Is(err, io.EOF) {
			return crds, nil
		} else if err != nil {
			return nil, err
		}
		if u.GetKind() == "CustomResourceDefinition" {
			crds = append(crds, u)
		}
	}
}
