package schema

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var obj map[string]any
	data, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(data, &obj) // whole numbers are int64, as in an API server
	}
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: default}
spec:
  parentRefs: [{name: gw}]
  rules:
  - backendRefs: [{name: a, port: 80}]
`

func BenchmarkFirst(b *testing.B) {
	for b.Loop() {
		s := New()
		s.Check("gateway.networking.k8s.io", "HTTPRoute", parse(b, route))
	}
}

func BenchmarkFirstVirtualService(b *testing.B) {
	for b.Loop() {
		s := New()
		s.Check("fairlead.io", "VirtualService", map[string]any{"metadata": map[string]any{"name": "a"}, "spec": map[string]any{"hosts": []any{"a"}}})
	}
}

func BenchmarkCheck(b *testing.B) {
	s := New()
	for b.Loop() {
		s.Check("gateway.networking.k8s.io", "HTTPRoute", parse(b, route))
	}
}

func TestDefaultsOfHTTPRoute(t *testing.T) {
	obj := parse(t, route)
	unknown, invalid := New().Check("gateway.networking.k8s.io", "HTTPRoute", obj)
	if len(unknown)+len(invalid) > 0 {
		t.Fatal(unknown, invalid)
	}
	got, _ := yaml.Marshal(obj["spec"])
	want := `parentRefs:
- group: gateway.networking.k8s.io
  kind: Gateway
  name: gw
rules:
- backendRefs:
  - group: ""
    kind: Service
    name: a
    port: 80
    weight: 1
  matches:
  - path:
      type: PathPrefix
      value: /
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFaultsAreNamedByPath(t *testing.T) {
	tests := map[string]struct{ group, kind, spec, unknown, path, message string }{
		"unknown field": {
			"gateway.networking.k8s.io", "HTTPRoute",
			"{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: a, port: 80, wieght: 1}]}]}",
			"spec.rules[0].backendRefs[0].wieght", "", "",
		},
		"wrong type": {
			"gateway.networking.k8s.io", "HTTPRoute", `{rules: [{backendRefs: [{name: a, port: "80"}]}]}`,
			"", "spec.rules[0].backendRefs[0].port", "must be of type integer",
		},
		"pattern": {
			"gateway.networking.k8s.io", "HTTPRoute", "{hostnames: [Upper.example]}", "", "spec.hostnames[0]", "should match",
		},
		"rule": {
			"gateway.networking.k8s.io", "HTTPRoute",
			"{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 80}]}]}",
			"", "spec.rules[0]", "RequestRedirect filter must not be used together with backendRefs",
		},
		"twice in a list": {
			"gateway.networking.k8s.io", "Gateway",
			"{gatewayClassName: c, listeners: [{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}]}",
			"", "spec.listeners[1]", "Duplicate value",
		},
		"ours": {
			"fairlead.io", "VirtualService", "{hosts: [a], http: [{rout: []}]}", "", "spec.http[0]", "exactly one of route",
		},
		"ours in the Istio group": {
			"networking.istio.io", "DestinationRule", "{host: 1}", "", "spec.host", "put quotes around it",
		},
	}
	s := New()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			obj := parse(t, "{apiVersion: x/v1, kind: "+tt.kind+", metadata: {name: a}, spec: "+tt.spec+"}")
			unknown, invalid := s.Check(tt.group, tt.kind, obj)
			if tt.unknown != "" && (len(unknown) != 1 || unknown[0].Path != tt.unknown || !unknown[0].Unknown) {
				t.Errorf("unknown %+v (invalid %v), want %s", unknown, invalid, tt.unknown)
			}
			if tt.path != "" && (len(invalid) == 0 || invalid[0].Path != tt.path || !strings.Contains(invalid[0].Message, tt.message)) {
				t.Errorf("invalid %+v, want %s at %s", invalid, tt.message, tt.path)
			}
		})
	}
}

// The copies in gateway-api/ and network-policy-api/ are those of the module that go.mod requires.
func TestCopiesAreCurrent(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "run", "./gen", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	if err != nil || len(files) != 5 {
		t.Fatalf("generated %v, %v", files, err)
	}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(dir, file)
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what go generate makes (%v)", name, err)
		}
	}
}
