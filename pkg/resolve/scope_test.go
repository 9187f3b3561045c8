package resolve_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/table"
)

func node(name string) string { return "apiVersion: v1\nkind: Node\nmetadata: {name: " + name + "}" }

// Which pods count, and what is known of nodes.
func TestNodeScopes(t *testing.T) {
	s := newScopes(t, node("n1"), pod("b", "unbound", `""`, ""), pod("b", "host", "n1", ", hostNetwork: true"))
	s.wantScope("n1", "")           // known, and without pods
	s.wantScope("n2", "everything") // never heard of
	s.apply(pod("b", "unbound", "n2", ""), pod("a", "x", "n1", ""), pod("a", "y", "n1", ""), pod("b", "z", "n1", ""))
	s.wantScope("n1", "a: all; b: all")
	s.wantScope("n2", "b: all")                                 // a pod tells of its node too
	s.remove(model.Ref{Kind: "Pod", Namespace: "a", Name: "x"}) // as the sources do with one that has finished
	s.wantScope("n1", "a: all; b: all")
	s.remove(model.Ref{Kind: "Pod", Namespace: "a", Name: "y"})
	s.wantScope("n1", "b: all")
	s.remove(model.Ref{Kind: "Pod", Namespace: "b", Name: "z"})
	s.wantScope("n1", "")
	s.remove(model.Ref{Kind: "Pod", Namespace: "b", Name: "unbound"})
	s.wantScope("n2", "everything")
	s.remove(model.Ref{Kind: "Node", Name: "n1"})
	s.wantScope("n1", "everything") // its hostNetwork pod says nothing of it
}

// The clients of stub listeners are on every node.
func TestStubsAreInEveryScope(t *testing.T) {
	e := table.New(table.Options{Strict: true, Logger: slog.New(slog.DiscardHandler)})
	cfg := resolve.DefaultConfig()
	cfg.Stubs = []resolve.Stub{{Name: "a", Namespace: "a", Labels: map[string]string{"app": "x"}}, {Name: "b", Namespace: "b"}}
	res := resolve.New(e, cfg)
	s := &scopes{destinations: &destinations{t: t, engine: e, res: res}, nodes: table.Publish(res.Scopes.Nodes)}
	s.born = map[model.Ref]time.Time{}
	s.apply(node("n1"), pod("b", "z", "n1", ""))
	s.wantScope("n1", "a: all; b: all")
	s.apply(sidecar("a", "it", `{workloadSelector: {labels: {app: x}}, egress: [{hosts: [./*]}]}`), sidecar("b", "it", `{workloadSelector: {labels: {app: z}}, egress: [{hosts: [./*]}]}`))
	s.wantScope("n1", "a: a/*; b: all; b: b/*")
}

// scopeRuns counts what the tables of scopes have computed so far.
func (s *scopes) scopeRuns() string {
	out := ""
	for _, st := range s.engine.Stats() {
		switch st.Name {
		case "namespace scopes", "places", "node scopes":
			out += fmt.Sprintf("%s %d ", st.Name, st.Runs)
		}
	}
	return out
}

// What happens to a pod after it was bound costs nothing, and a Sidecar that selects workloads makes its namespace read
// labels, no more.
func TestPodUpdatesDoNotTouchScopes(t *testing.T) {
	s := newScopes(t, pod("a", "x", "n1", ""), pod("a", "y", "n2", ""), pod("b", "z", "n1", ""))
	update := func(what, want string) {
		t.Helper()
		before, seq := s.scopeRuns(), s.engine.Snapshot().Seq
		for i, status := range []string{"{phase: Pending, podIP: 10.1.1.1}", "{phase: Running, podIP: 10.1.1.1, conditions: [{type: Ready, status: 'True'}]}"} {
			s.apply(pod("a", "x", "n1", fmt.Sprintf(", serviceAccountName: s%d", i)) + "\nstatus: " + status)
		}
		if got := s.scopeRuns(); (got == before) != (want == "") {
			t.Errorf("%s: %s, before %s", what, got, before)
		}
		changes, ok := s.engine.Snapshot().ChangesSince(seq)
		for _, c := range changes {
			if c.Table == s.nodes.Name() || !ok {
				t.Errorf("%s: %v is published again", what, c)
			}
		}
	}
	update("no Sidecar", "")
	s.apply(sidecar("b", "it", `{workloadSelector: {labels: {app: z}}, egress: [{hosts: [./*]}]}`))
	update("a Sidecar elsewhere", "")
	s.apply(sidecar("a", "it", `{workloadSelector: {labels: {app: x}}, egress: [{hosts: [./*]}]}`))
	update("a Sidecar that looks at labels", "the place")
}

// Scopes overtake a long pass, as they read sources and urgent tables only.
func TestScopesAreUrgent(t *testing.T) {
	s := newScopes(t)
	left, seen := false, 0
	for _, st := range s.engine.Stats() {
		switch st.Name {
		case "clusters":
			left = true
		case "sidecars", "namespace scopes", "places", "node scopes":
			seen++
			if left || !st.Urgent {
				t.Errorf("%s: urgent %v, after tables that are not: %v", st.Name, st.Urgent, left)
			}
		}
	}
	if seen != 4 {
		t.Errorf("%d tables", seen)
	}
}

const (
	benchPods       = 50_000
	benchNodes      = 500
	benchNamespaces = 200
)

func benchPod(i, version int) source.Update {
	ref := model.Ref{Kind: "Pod", Namespace: fmt.Sprintf("ns-%d", i/5%benchNamespaces), Name: fmt.Sprintf("pod-%d", i)}
	return source.Update{Ref: ref, Object: &model.Pod{
		Meta: model.Meta{Ref: ref, UID: ref.Name, ResourceVersion: fmt.Sprint(version), Labels: map[string]string{"app": fmt.Sprint(i % 7)}},
		Node: fmt.Sprintf("node-%d", i/(benchPods/benchNodes)), Ready: version%2 == 0,
	}}
}

// BenchmarkScopes is 50,000 pods on 500 nodes, in 200 namespaces (20 on a node) whose default is their own: everything from nothing, a
// pod that becomes ready, a pod of another namespace that is bound and goes, and the memory of it all.
func BenchmarkScopes(b *testing.B) {
	pods := make([]source.Update, benchPods)
	for i := range pods {
		pods[i] = benchPod(i, 1)
	}
	root := &resolve.Sidecar{Meta: model.Meta{Ref: sidecarRef(resolve.DefaultConfig().RootNamespace, "default")}}
	root.Spec.Egress = append(root.Spec.Egress, v1alpha1.SidecarEgress{Hosts: []string{"./*"}})
	before := heapInUse()
	make50k := func() (*table.Engine, *resolve.Resolved, *table.Output[*model.NodeScope]) {
		e := table.New(table.Options{Logger: slog.New(slog.DiscardHandler)})
		res := resolve.New(e, resolve.DefaultConfig())
		nodes := table.Publish(res.Scopes.Nodes)
		e.Apply(res.Inputs.Batch(append(pods[:len(pods):len(pods)], source.Update{Ref: root.Ref, Object: root}), 1))
		return e, res, nodes
	}
	e, res, nodes := make50k()
	held := heapInUse() - before
	if nodes.Len(e.Snapshot()) != benchNodes {
		b.Fatalf("%d scopes", nodes.Len(e.Snapshot()))
	}
	version := uint64(1)
	changed := func(b *testing.B, want int, u source.Update) {
		version++
		seq := e.Snapshot().Seq
		e.Apply(res.Inputs.Batch([]source.Update{u}, version))
		if c, ok := e.Snapshot().ChangesSince(seq); !ok || len(c) != want {
			b.Fatalf("changes %v, want %d", c, want)
		}
	}
	b.Run("rebuild", func(b *testing.B) {
		for b.Loop() {
			make50k()
		}
	})
	b.Run("ready", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			changed(b, 0, benchPod(7, int(version)+1))
		}
	})
	b.Run("bound", func(b *testing.B) {
		b.ReportAllocs()
		ref := model.Ref{Kind: "Pod", Namespace: "new", Name: "new"}
		for b.Loop() {
			changed(b, 1, source.Update{Ref: ref, Object: &model.Pod{Meta: model.Meta{Ref: ref}, Node: "node-3"}})
			changed(b, 1, source.Update{Ref: ref})
		}
	})
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			runtime.KeepAlive(e)
		}
		b.ReportMetric(float64(held)/(1<<20), "MB")
	})
}

func heapInUse() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
