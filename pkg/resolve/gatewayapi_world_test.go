package resolve

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
	"fairlead.io/fairlead/pkg/table"
)

// apiWorld is the Gateway API's part of the stage, fed from manifests.
type apiWorld struct {
	t   *testing.T
	e   *table.Engine
	in  *Inputs
	api *GatewayAPI
	age int
}

// apiBase is what most cases stand on: our class, a Service with endpoints to be, and another namespace.
const apiBase = `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: ours}, spec: {controllerName: fairlead.io/gateway-controller}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: theirs}, spec: {controllerName: example.com/other}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: far}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: api, namespace: shop}, spec: {clusterIP: 10.0.0.2, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: data, namespace: far}, spec: {clusterIP: 10.0.0.3, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: out, namespace: shop}, spec: {type: ExternalName, externalName: example.org, ports: [{name: http, port: 80}]}}
`

func newAPIWorld(t *testing.T, manifests ...string) *apiWorld {
	t.Helper()
	w := newAPIWorldEmpty(t)
	w.apply(append([]string{apiBase}, manifests...)...)
	return w
}

func newAPIWorldEmpty(t *testing.T) *apiWorld {
	e := table.New(table.Options{Strict: true, Why: true})
	in := NewInputs(e)
	cfg := DefaultConfig()
	return &apiWorld{t: t, e: e, in: in, api: newGatewayAPI(e, cfg, in, newHosts(e, cfg, in))}
}

// apply reads manifests in one pass. Each call is later than the one before.
func (w *apiWorld) apply(manifests ...string) {
	w.t.Helper()
	w.age++
	r := convert.NewFiles(nil).Convert(fmt.Sprintf("%d.yaml", w.age), []byte(strings.Join(manifests, "\n---\n")))
	for _, p := range r.Problems {
		w.t.Fatalf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	var updates []source.Update
	for _, o := range r.Objects {
		o.Meta.Created = time.Unix(int64(w.age), 0)
		updates = append(updates, source.Update{Ref: o.Ref, Object: o.Object})
	}
	w.e.Apply(w.in.Batch(updates, uint64(w.age)))
}

func (w *apiWorld) remove(ref model.Ref) {
	w.e.Apply(w.in.Batch([]source.Update{{Ref: ref}}, 0))
}

// row gives one row of a table, or the zero value.
func row[V any](w *apiWorld, t *table.Derived[V], key string) V {
	rows, _ := w.e.Dump(t.Name())
	for _, r := range rows {
		if r.Key == key {
			return r.Value.(V)
		}
	}
	var none V
	return none
}

func (w *apiWorld) route(key string) *RouteState {
	w.t.Helper()
	s := row(w, w.api.Routes, key)
	if s == nil {
		w.t.Fatalf("no HTTPRoute %s", key)
	}
	return s
}

// only gives the single route of a single-rule HTTPRoute that is bound once.
func (w *apiWorld) only(key string) model.Route {
	w.t.Helper()
	s := w.route(key)
	if len(s.Bindings) != 1 || len(s.Bindings[0].Routes) != 1 {
		w.t.Fatalf("HTTPRoute %s has %d bindings: %+v", key, len(s.Bindings), s)
	}
	return s.Bindings[0].Routes[0]
}

// said writes conditions down as "Type=True/Reason", warnings as "warning <path>".
func said(list []model.Condition) []string {
	out := []string{}
	for _, c := range list {
		switch {
		case c.Warning:
			out = append(out, "warning "+c.Path)
		case c.Status:
			out = append(out, c.Type+"=True/"+c.Reason)
		default:
			out = append(out, c.Type+"=False/"+c.Reason)
		}
	}
	return out
}

// spelled joins the conditions of a type, or "".
func spelled(list []model.Condition, kind string) string {
	for _, c := range said(list) {
		if strings.HasPrefix(c, kind+"=") {
			return strings.TrimPrefix(c, kind+"=")
		}
	}
	return ""
}

func message(list []model.Condition) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Message)
	}
	return strings.Join(out, "\n")
}

// hosts lists where a route is bound, "config host".
func (s *RouteState) hosts() []string {
	out := []string{}
	for _, b := range s.Bindings {
		out = append(out, b.Config+" "+b.Host)
	}
	slices.Sort(out)
	return out
}

// gatewayOf is a Gateway shop/gw with the given rest of its spec.
func gatewayOf(spec string) string {
	return "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: shop}\nspec:\n  gatewayClassName: ours\n" + indent(spec)
}

// routeOf is an HTTPRoute of a namespace, attached to gw of shop, with the given rest of its spec.
func routeOf(namespace, name, spec string) string {
	return "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec:\n" + indent(spec)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(text, "\t", "  ")), "\n", "\n  ")
}

const plainGateway = `listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]`

func equalLists(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// nameOf shortens "HTTPRoute shop/old rule 0 (any) match 0" to "old any".
func nameOf(route string) string {
	object, rule, _ := strings.Cut(strings.TrimPrefix(route, "HTTPRoute shop/"), " rule ")
	_, rule, _ = strings.Cut(rule, "(")
	rule, _, _ = strings.Cut(rule, ")")
	return object + " " + rule
}

// table0 gives the first row of a table.
func table0[V any](w *apiWorld, name string) V {
	rows, _ := w.e.Dump(name)
	return rows[0].Value.(V)
}

func exportAll(reflect.Type) bool { return true }
