package resolve_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/table"
)

// scopes is a world with the scopes of its nodes.
type scopes struct {
	*destinations
	nodes    *table.Output[*model.NodeScope]
	statuses *table.Output[*model.ObjectStatus]
}

func newScopes(t testing.TB, manifests ...string) *scopes {
	t.Helper()
	s := &scopes{}
	s.destinations = newDestinationsWith(t, func(_ *table.Engine, res *resolve.Resolved) *table.Output[string] {
		s.nodes, s.statuses = table.Publish(res.Scopes.Nodes), table.Publish(res.Statuses)
		return nil
	}, manifests...)
	return s
}

// scope prints a node's scope: "ns: all" or "ns: namespace/host …" for each group.
func (s *scopes) scope(node string) string {
	v, ok := s.nodes.Get(s.engine.Snapshot(), node)
	if !ok {
		return "everything"
	}
	var groups []string
	for _, g := range v.Groups {
		text := g.Namespace + ":"
		if g.Hosts == nil {
			text += " all"
		} else {
			for _, h := range g.Hosts.List {
				text += " " + h.Namespace + "/" + h.Host
			}
		}
		groups = append(groups, text)
	}
	return strings.Join(groups, "; ")
}

func (s *scopes) wantScope(node, want string) {
	s.t.Helper()
	if got := s.scope(node); got != want {
		s.t.Errorf("scope of %s: %q, want %q", node, got, want)
	}
}

func pod(ns, name, node, more string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: '" + name + "', namespace: " + ns + ", labels: {app: '" + name + "'}}\nspec: {nodeName: " + node + more + "}"
}

func sidecar(ns, name, spec string) string {
	return "apiVersion: fairlead.io/v1alpha1\nkind: Sidecar\nmetadata: {name: " + name + ", namespace: " + ns + "}\nspec: " + spec
}

func sidecarRef(ns, name string) model.Ref {
	return model.Ref{Group: model.Group, Kind: "Sidecar", Namespace: ns, Name: name}
}

// What the fields of a Sidecar do: taking one away changes a scope, or a condition names it.
func TestSidecarFieldsAreHonouredOrRefused(t *testing.T) {
	outcome := func(spec any) string {
		js, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		s := newScopes(t, pod("prod", "a", "n1", ""), pod("prod", "b", "n2", ""), sidecar("prod", "it", string(js)))
		return s.scope("n1") + " | " + s.scope("n2")
	}
	refused := map[string]string{
		"spec.egress.port":           `{egress: [{hosts: [./*], port: {number: 80, protocol: HTTP, name: x, targetPort: 1}}]}`,
		"spec.egress.bind":           `{egress: [{hosts: [./*], bind: 127.0.0.1}]}`,
		"spec.egress.captureMode":    `{egress: [{hosts: [./*], captureMode: NONE}]}`,
		"spec.ingress":               `{ingress: [{port: {number: 80}}]}`,
		"spec.inboundConnectionPool": `{inboundConnectionPool: {tcp: {maxConnections: 1}}}`,
		"spec.outboundTrafficPolicy": `{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}`,
	}
	full := v1alpha1.SidecarSpec{
		WorkloadSelector: &v1alpha1.WorkloadSelector{Labels: map[string]string{"app": "a"}},
		Egress:           []v1alpha1.SidecarEgress{{Hosts: []string{"x/*"}}},
	}
	honoured := map[string]bool{}
	visit(reflect.ValueOf(&full).Elem(), "spec", func(path string, v reflect.Value) {
		old, whole := reflect.ValueOf(v.Interface()), outcome(full)
		v.SetZero()
		honoured[path] = outcome(full) != whole
		v.Set(old)
	})
	for _, path := range fieldPaths(reflect.TypeFor[v1alpha1.SidecarSpec](), "spec") {
		i := slices.IndexFunc(sortedKeys(refused), func(p string) bool { return path == p || strings.HasPrefix(path, p+".") })
		if honoured[path] {
			continue
		}
		if i < 0 {
			t.Errorf("%s has no effect, and is not in the refused list", path)
			continue
		}
		field := sortedKeys(refused)[i]
		s := newScopes(t, sidecar("prod", "it", refused[field]))
		st, _ := s.statuses.Get(s.engine.Snapshot(), resolve.StatusKey(sidecarRef("prod", "it")))
		if st == nil || !st.Conditions[0].Status || !slices.ContainsFunc(st.Conditions, func(c model.Condition) bool {
			return c.Warning && plainPath(c.Path) == field
		}) {
			t.Errorf("%s is not named: %+v", field, st)
		}
	}
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// A host that cannot be read takes the whole Sidecar out of service, and its author is told where and why.
func TestSidecarBadHosts(t *testing.T) {
	for text, want := range map[string]string{
		"reviews":                                `write "namespace/host"`,
		"":                                       `write "namespace/host"`,
		"/":                                      `write "namespace/host"`,
		"prod/":                                  `write "namespace/host"`,
		"/x.y":                                   `write "namespace/host"`,
		"a/b/c":                                  "more than one slash",
		"a.b/*":                                  "a.b is no namespace",
		"**/x.y":                                 "** is no namespace",
		"Prod/x.y":                               "Prod is no namespace",
		"prod/re*":                               "re* is no host name",
		"prod/*x.y":                              "must be a whole label",
		"prod/*.*.y":                             "is no host name",
		"prod/a.*.y":                             "is no host name",
		"prod/a..y":                              "is no host name",
		"prod/" + strings.Repeat("a", 64) + ".y": "is no host name",
		"prod/" + strings.Repeat("a.", 200) + "y": "is no host name",
		"prod/\u00e9.y": "is no host name",
	} {
		js, err := json.Marshal(map[string]any{"egress": []any{map[string]any{"hosts": []string{"./*", text}}}})
		if err != nil {
			t.Fatal(err)
		}
		s := newScopes(t, pod("prod", "a", "n1", ""), sidecar("prod", "it", string(js)))
		if c := s.said(s.statuses, "fairlead.io/Sidecar/prod/it", "spec.egress[0].hosts[1]", want); c.Status || c.Type != "Accepted" {
			t.Errorf("%q: condition %+v", text, c)
		}
		s.wantScope("n1", "prod: all")
	}
	s := newScopes(t, pod("prod", "a", "n1", ""), sidecar("prod", "it", `{egress: [{}]}`))
	s.said(s.statuses, "fairlead.io/Sidecar/prod/it", "spec.egress[0].hosts", "at least one host")
	s = newScopes(t, pod("prod", "a", "n1", ""), sidecar("prod", "it", `{egress: [{hosts: [./reviews]}]}`))
	if c := s.said(s.statuses, "fairlead.io/Sidecar/prod/it", "spec.egress[0].hosts[0]", "write reviews.<namespace>.svc"); !c.Warning {
		t.Errorf("a short name is a warning, not %+v", c)
	}
	s = newScopes(t, pod("prod", "a", "n1", ""), sidecar("prod", "it", `{workloadSelector: {}, egress: [{hosts: [x/*]}]}`))
	s.said(s.statuses, "fairlead.io/Sidecar/prod/it", "spec.workloadSelector.labels", "for all pods")
	s.wantScope("n1", "prod: x/*")
}

// Hosts are read as in Istio.
func TestSidecarGoodHosts(t *testing.T) {
	for hosts, want := range map[string]string{
		`"*/*"`:                       "prod: all",
		`"*/*", "./*"`:                "prod: all",
		`"~/*"`:                       "prod:",
		`"./*"`:                       "prod: prod/*",
		`"./*", "prod/*", "x/*"`:      "prod: prod/* x/*",
		`"*/API.example.com."`:        "prod: */api.example.com",
		`"x/*.example.com", "~/a.b"`:  "prod: x/*.example.com",
		`"x/a.b", "x/a.b", "*/a.b"`:   "prod: */a.b x/a.b",
		`"x/my_svc.x.svc", "x-1/a.b"`: "prod: x/my_svc.x.svc x-1/a.b",
	} {
		s := newScopes(t, pod("prod", "a", "n1", ""), sidecar("prod", "it", `{egress: [{hosts: [`+hosts+`]}]}`))
		s.wantScope("n1", want)
		s.accepted(s.statuses, "fairlead.io/Sidecar/prod/it")
	}
	s := newScopes(t, pod("prod", "a", "n1", ""), sidecar("prod", "it", `{egress: [{hosts: [a/*]}, {hosts: [b/*]}]}`))
	s.wantScope("n1", "prod: a/* b/*")
	s.apply(sidecar("prod", "it", `{}`))
	s.wantScope("n1", "prod: all")
}

// The one that selects the pod, then the namespace's, then the root namespace's; of several the oldest, and the others
// are told.
func TestEffectiveSidecar(t *testing.T) {
	s := newScopes(t, pod("prod", "a", "n1", ""), pod("prod", "b", "n2", ""), pod("test", "a", "n3", ""))
	all := func(n1, n2, n3 string) {
		t.Helper()
		s.wantScope("n1", "prod: "+n1)
		s.wantScope("n2", "prod: "+n2)
		s.wantScope("n3", "test: "+n3)
	}
	all("all", "all", "all")
	s.apply(sidecar("fairlead-system", "default", `{egress: [{hosts: [./*, root/*]}]}`))
	all("prod/* root/*", "prod/* root/*", "root/* test/*")
	s.apply(sidecar("fairlead-system", "chosen", `{workloadSelector: {labels: {app: a}}, egress: [{hosts: [no/*]}]}`))
	all("prod/* root/*", "prod/* root/*", "root/* test/*")
	s.apply(sidecar("prod", "own", `{egress: [{hosts: [own/*]}]}`))
	all("own/*", "own/*", "root/* test/*")
	s.apply(sidecar("prod", "chosen", `{workloadSelector: {labels: {app: a}}, egress: [{hosts: [chosen/*]}]}`))
	all("chosen/*", "own/*", "root/* test/*")
	s.apply(sidecar("prod", "chosen-later", `{workloadSelector: {labels: {app: a}}, egress: [{hosts: [later/*]}]}`), sidecar("prod", "own-later", `{egress: [{hosts: [later/*]}]}`))
	all("chosen/*", "own/*", "root/* test/*")
	c := s.said(s.statuses, "fairlead.io/Sidecar/prod/own-later", "spec.workloadSelector", "Sidecar prod/own (fairlead.io) is older")
	if c.Status || c.Reason != "Conflict" {
		t.Errorf("condition %+v", c)
	}
	s.accepted(s.statuses, "fairlead.io/Sidecar/prod/own")
	s.remove(sidecarRef("prod", "own"))
	all("chosen/*", "later/*", "root/* test/*")
	s.accepted(s.statuses, "fairlead.io/Sidecar/prod/own-later")
	s.remove(sidecarRef("prod", "chosen"))
	s.remove(sidecarRef("prod", "own-later"))
	all("later/*", "prod/* root/*", "root/* test/*")
	s.remove(sidecarRef("fairlead-system", "default"))
	all("later/*", "all", "all")
}
