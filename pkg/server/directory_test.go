package server

import (
	"fmt"
	"slices"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/table"
)

func ref(group, kind, ns, name string) model.Ref {
	return model.Ref{Group: group, Kind: kind, Namespace: ns, Name: name}
}

func put(o interface{ GetMeta() *model.Meta }) source.Update {
	m := o.GetMeta()
	if m.ResourceVersion == "" {
		m.ResourceVersion = "1"
	}
	return source.Update{Ref: m.Ref, Object: o}
}

func podOn(node, ns, name, sa string, labels map[string]string) *model.Pod {
	return &model.Pod{Meta: model.Meta{Ref: ref("", "Pod", ns, name), UID: "uid-" + name, Labels: labels}, Node: node, ServiceAccount: sa}
}

func nodeOf(name, uid string) *model.Node {
	return &model.Node{Meta: model.Meta{Ref: ref("", "Node", "", name), UID: uid, ResourceVersion: uid}}
}

func TestDirectory(t *testing.T) {
	f := NewFlow(resolve.DefaultConfig(), table.Options{Strict: true})
	d := f.Directory()
	if _, ok := d.Node("a"); ok || d.RunsOn("a", "prod", "web") || d.Runs("prod", "web") {
		t.Error("an empty directory knows somebody")
	}
	svc := func(ns, name string, selector map[string]string) *model.Service {
		return &model.Service{Meta: model.Meta{Ref: ref("", "Service", ns, name), UID: name}, Selector: selector}
	}
	class := &resolve.GatewayClass{Meta: model.Meta{Ref: ref(model.GatewayAPIGroup, "GatewayClass", "", "ours"), UID: "c"}}
	class.Spec.ControllerName = gatewayv1.GatewayController(resolve.DefaultConfig().Controller)
	gw := func(name, class string) *resolve.Gateway {
		g := &resolve.Gateway{Meta: model.Meta{Ref: ref(model.GatewayAPIGroup, "Gateway", "edge", name), UID: name}}
		g.Spec.GatewayClassName = gatewayv1.ObjectName(class)
		g.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}}
		return g
	}
	apply := func(list ...source.Update) { f.Engine.Apply(f.Resolved.Inputs.Batch(list, 1)) }
	apply(put(nodeOf("a", "uid-a")), put(podOn("a", "prod", "web-1", "web", map[string]string{"app": "web", "v": "1"})),
		put(podOn("", "prod", "waiting", "late", nil)),
		put(svc("prod", "web", map[string]string{"app": "web"})), put(svc("prod", "all", nil)), put(svc("prod", "other", map[string]string{"app": "db"})),
		put(svc("prod2", "web", map[string]string{"app": "web"})), put(class), put(gw("in", "ours")), put(gw("foreign", "theirs")))
	want := ca.Pod{PodRef: ca.PodRef{Namespace: "prod", Name: "web-1", UID: "uid-web-1", ServiceAccount: "web"}, Node: "a"}
	if p, ok := d.Pod("prod", "web-1"); !ok || p != want {
		t.Errorf("pod %+v %v", p, ok)
	}
	if names := d.DNSNames("prod", "web-1"); !slices.Equal(names, []string{"web.prod", "web.prod.svc", "web.prod.svc.cluster.local"}) {
		t.Errorf("names %v", names)
	}
	if uid, ok := d.Node("a"); !ok || uid != "uid-a" {
		t.Errorf("node %q %v", uid, ok)
	}
	for _, c := range []struct {
		name string
		got  bool
		want bool
	}{
		{"runs", d.RunsOn("a", "prod", "web"), true},
		{"other node", d.RunsOn("b", "prod", "web"), false},
		{"other account", d.RunsOn("a", "prod", "late"), false},
		{"unbound", d.RunsOn("", "prod", "late"), false},
		{"runs anywhere", d.Runs("prod", "web"), true},
		{"unbound, anywhere", d.Runs("prod", "late"), false},
		{"of another namespace", d.Runs("prod2", "web"), false},
		{"of nobody", d.Runs("prod", ""), false},
		{"of nowhere", d.Runs("", "web"), false},
		{"gateway", d.Gateway("a", "edge", "in"), true},
		{"another controller's gateway", d.Gateway("a", "edge", "foreign"), false},
		{"gateway on an unknown node", d.Gateway("b", "edge", "in"), false},
		{"no gateway", d.Gateway("a", "edge", "none"), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", c.name, c.got)
		}
	}
	apply(source.Update{Ref: ref("", "Pod", "prod", "web-1")}, put(nodeOf("a", "uid-a2")))
	if _, ok := d.Pod("prod", "web-1"); ok || d.RunsOn("a", "prod", "web") || d.Runs("prod", "web") || d.DNSNames("prod", "web-1") != nil {
		t.Error("a pod that is gone is still known")
	}
	if uid, _ := d.Node("a"); uid != "uid-a2" {
		t.Errorf("node has UID %q", uid)
	}
}

func BenchmarkDirectory(b *testing.B) {
	f := NewFlow(resolve.DefaultConfig(), table.Options{})
	var list []source.Update
	for i := range 20_000 {
		list = append(list, put(podOn(fmt.Sprintf("node-%d", i/100), fmt.Sprintf("ns-%d", i%50), fmt.Sprintf("pod-%d", i), "sa", nil)))
	}
	f.Engine.Apply(f.Resolved.Inputs.Batch(list, 1))
	d := f.Directory()
	for b.Loop() {
		if _, ok := d.Pod("ns-49", "pod-19999"); !ok || !d.RunsOn("node-199", "ns-49", "sa") {
			b.Fatal("unknown")
		}
	}
}
