package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source/convert"
)

func TestLoadPathsAndStdin(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), service("a", 80)+"---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n")
	odd := filepath.Join(t.TempDir(), "manifest.txt")
	write(t, odd, service("b", 80))
	got := Load(Config{}, strings.NewReader(service("c", 80)), dir, odd, "-", filepath.Join(dir, "none.yaml"))
	var names []string
	for _, u := range got.Updates {
		names = append(names, u.Ref.Name)
	}
	if strings.Join(names, " ") != "a b c" {
		t.Errorf("objects %v, want a, b and c", names)
	}
	if len(got.Notes) != 1 || got.Notes[0].Ref.Kind != "Deployment" || got.Notes[0].Line != 9 {
		t.Errorf("notes %+v, want the Deployment at line 9", got.Notes)
	}
	if len(got.Problems) != 1 || filepath.Base(got.Problems[0].File) != "none.yaml" {
		t.Errorf("problems %+v, want the missing file", got.Problems)
	}
}

const pods = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: web}, {name: admin, port: 81, targetPort: 9000}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: web, containerPort: 8080}]}]}
status: {podIP: 127.0.0.11}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, labels: {app: web}}
spec: {containers: [{name: c, ports: [{name: web, containerPort: 8080}]}]}
status: {podIP: 127.0.0.12, conditions: [{type: Ready, status: "False"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-3, labels: {app: web}}
spec: {containers: [{name: c, ports: [{name: web, containerPort: 8081}]}]}
status: {podIP: 127.0.0.13}
---
apiVersion: v1
kind: Pod
metadata: {name: done, labels: {app: web}}
spec: {containers: [{name: c}]}
status: {podIP: 127.0.0.14, phase: Succeeded}
---
apiVersion: v1
kind: Pod
metadata: {name: other, labels: {app: other}}
spec: {containers: [{name: c}]}
status: {podIP: 127.0.0.15}
`

func TestEndpointsOutOfPods(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "pods.yaml"), pods)
	w := start(t, dir)
	slice := func(name string) *model.EndpointSlice {
		s, _ := w.objects[model.Ref{Group: convert.GroupDiscovery, Kind: "EndpointSlice", Namespace: "default", Name: name}].(*model.EndpointSlice)
		return s
	}
	one, two := slice("web-files"), slice("web-files-2")
	if one == nil || two == nil || one.Service != "web" || len(one.Endpoints) != 2 || len(two.Endpoints) != 1 {
		t.Fatalf("slices %+v %+v, want one of web-1 and web-2, and one of web-3", one, two)
	}
	if e := one.Endpoints[0]; !e.Ready || e.Node != "n1" || e.Pod != "default/web-1" || e.Addresses[0].String() != "127.0.0.11" {
		t.Errorf("web-1: %+v", e)
	}
	if one.Endpoints[1].Ready {
		t.Error("web-2 is ready although it says that it is not")
	}
	if p := one.Ports; len(p) != 2 || p[0].Name != "admin" || p[0].Number != 9000 || p[1].Number != 8080 || two.Ports[1].Number != 8081 {
		t.Errorf("ports %+v and %+v", one.Ports, two.Ports)
	}
	write(t, filepath.Join(dir, "slice.yaml"), `{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata": {"name": "own", "labels": {"kubernetes.io/service-name": "web"}},
		"ports": [{"port": 1}], "endpoints": [{"addresses": ["127.0.0.1"]}]}`)
	w.until(t, "the folder's own slice is used", func() bool {
		return slice("web-files") == nil && slice("web-files-2") == nil && slice("own") != nil
	})
	if err := os.Remove(filepath.Join(dir, "slice.yaml")); err != nil {
		t.Fatal(err)
	}
	w.until(t, "slices are made again", func() bool { return slice("web-files") != nil && slice("own") == nil })
	if g := slice("web-files").Generation; g != 2 {
		t.Errorf("generation %d, want 2", g)
	}
}
