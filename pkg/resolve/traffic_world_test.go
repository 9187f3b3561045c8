package resolve

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
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

var updateTraffic = flag.Bool("update-traffic", false, "write what the cases of testdata/traffic give as what they must give")

// trafficWorld is the part of the stage that VirtualServices and their Gateways need, fed from manifests.
type trafficWorld struct {
	t       *testing.T
	e       *table.Engine
	in      *Inputs
	traffic *Traffic
	age     int
}

func newTrafficWorld(t *testing.T, manifests ...string) *trafficWorld {
	t.Helper()
	e := table.New(table.Options{Strict: true})
	in, cfg := NewInputs(e), DefaultConfig()
	hosts := newHosts(e, cfg, in)
	w := &trafficWorld{t: t, e: e, in: in, traffic: newTraffic(e, cfg, in, hosts, newPolicies(e, cfg, in, hosts))}
	base, err := os.ReadFile("testdata/traffic/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w.apply(append([]string{string(base)}, manifests...)...)
	return w
}

// apply reads manifests in one pass. An object is as old as its place: later ones are younger.
func (w *trafficWorld) apply(manifests ...string) {
	w.t.Helper()
	r := convert.NewFiles(nil).Convert("case.yaml", []byte(strings.Join(manifests, "\n---\n")))
	for _, p := range r.Problems {
		w.t.Fatalf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	var updates []source.Update
	for _, o := range r.Objects {
		w.age++
		o.Meta.Created = time.Unix(int64(w.age), 0)
		updates = append(updates, source.Update{Ref: o.Ref, Object: o.Object})
	}
	w.e.Apply(w.in.Batch(updates, uint64(w.age)))
}

func trafficRow[V any](w *trafficWorld, t *table.Derived[V], key string) (v V) {
	rows, _ := w.e.Dump(t.Name())
	for _, r := range rows {
		if r.Key == key {
			return r.Value.(V)
		}
	}
	return v
}

func (w *trafficWorld) routes(key string) *RouteState {
	w.t.Helper()
	s := trafficRow(w, w.traffic.Routes, key)
	if s == nil {
		w.t.Fatalf("no VirtualService %s", key)
	}
	return s
}

func (w *trafficWorld) runs(table string) uint64 {
	for _, s := range w.e.Stats() {
		if s.Name == table {
			return s.Runs
		}
	}
	w.t.Fatalf("no table %s", table)
	return 0
}

// text writes down everything that the VirtualServices and Gateways of the world come to.
func (w *trafficWorld) text() string {
	var b strings.Builder
	gateways, _ := w.e.Dump(w.traffic.Gateways.Name())
	for _, r := range gateways {
		g := r.Value.(*GatewayState)
		fmt.Fprintf(&b, "Gateway %s\n", r.Key)
		for _, s := range g.Servers {
			s.Meta, s.Gateway = nil, model.Ref{}
			fmt.Fprintf(&b, "  server %s\n", brief(s))
		}
		b.WriteString(conditionsText(g.Status.Conditions))
	}
	routes, _ := w.e.Dump(w.traffic.Routes.Name())
	for _, r := range routes {
		s := r.Value.(*RouteState)
		fmt.Fprintf(&b, "VirtualService %s\n", r.Key)
		for _, bd := range s.Bindings {
			fmt.Fprintf(&b, "  %s %s%s\n", bd.Config, bd.Host, strings.TrimSuffix(" visible "+strings.Join(bd.Visible, ","), " visible "))
			for _, rt := range bd.Routes {
				fmt.Fprintf(&b, "    %s\n", routeText(rt))
			}
		}
		for _, c := range s.TCP {
			fmt.Fprintf(&b, "  L4 %s %s tls=%v %s\n", c.Config, c.Host, c.TLS, brief(c.Route))
		}
		b.WriteString(conditionsText(s.Status.Conditions))
	}
	return b.String()
}

func conditionsText(list []model.Condition) string {
	var b strings.Builder
	for _, c := range list {
		what := "FALSE"
		switch {
		case c.Warning:
			what = "warning"
		case c.Status:
			what = "true"
		}
		fmt.Fprintf(&b, "  %s %s %s\n", what, c.Reason, c.Message)
	}
	return b.String()
}

// routeText leaves out what every route has.
func routeText(rt model.Route) string {
	rt.Origins = nil
	if f := rt.Forward; f != nil {
		g := *f
		if g.Retry != nil && reflect.DeepEqual(g.Retry, DefaultRetry()) {
			g.Retry = nil
		} else if g.Retry == nil {
			g.Retry = &model.Retry{On: "OFF"}
		}
		if slices.Equal(g.Upgrades, []string{"websocket"}) {
			g.Upgrades = nil
		}
		rt.Forward = &g
	}
	return brief(rt)
}

// brief prints a value without its zero fields.
func brief(v any) string { return briefOf(reflect.ValueOf(v)) }

func briefOf(v reflect.Value) string {
	if v.IsValid() && v.CanInterface() {
		if s, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer {
			return s.String()
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "nil"
		}
		return "&" + briefOf(v.Elem())
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() && v.Type().Field(i).IsExported() {
				parts = append(parts, v.Type().Field(i).Name+":"+briefOf(f))
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("%q", v.Bytes())
		}
		var parts []string
		for i := range v.Len() {
			parts = append(parts, briefOf(v.Index(i)))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case reflect.String:
		return v.String()
	}
	return fmt.Sprint(v.Interface())
}

// Each file of testdata/traffic is a case: manifests, then what they come to behind a line "# ---- gives".
func TestTrafficCases(t *testing.T) {
	files, err := filepath.Glob("testdata/traffic/case-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	const mark = "# ---- gives\n"
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			manifests, want, _ := strings.Cut(string(data), mark)
			got := newTrafficWorld(t, manifests).text()
			got = "# " + strings.ReplaceAll(strings.TrimSuffix(got, "\n"), "\n", "\n# ") + "\n"
			if *updateTraffic {
				if err := os.WriteFile(file, []byte(manifests+mark+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
