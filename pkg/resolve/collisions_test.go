package resolve_test

import (
	"log/slog"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
	"fairlead.io/fairlead/pkg/table"
)

// TestAddressCollisions: of two entries with one address and port the second is told who is reached by it, and is well
// again when the first has gone. Another port is no collision.
func TestAddressCollisions(t *testing.T) {
	e := table.New(table.Options{Strict: true, Logger: slog.New(slog.DiscardHandler)})
	res := resolve.New(e, resolve.DefaultConfig())
	statuses := table.Publish(res.Statuses)
	entry := func(name, port string) string {
		return `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ` + name + `, namespace: app}
spec:
  hosts: [` + name + `.example.com]
  addresses: [240.0.0.7]
  ports: [{number: ` + port + `, name: x, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
`
	}
	read := convert.NewFiles(nil).Convert("in.yaml", []byte(strings.Join([]string{entry("a", "5432"), entry("b", "5432"), entry("c", "5433")}, "---")))
	if len(read.Problems) > 0 {
		t.Fatal(read.Problems)
	}
	var objects []source.Update
	for _, o := range read.Objects {
		objects = append(objects, source.Update{Ref: o.Ref, Object: o.Object})
	}
	e.Apply(res.Inputs.Batch(objects, 1))
	conflict := func(name string) string {
		ref := model.Ref{Group: model.IstioGroup, Kind: "ServiceEntry", Namespace: "app", Name: name}
		s, ok := statuses.Get(e.Snapshot(), resolve.StatusKey(ref))
		if !ok {
			t.Fatalf("no status of %s", name)
		}
		for _, c := range s.Conditions {
			if c.Reason == "Conflict" {
				return c.Message
			}
		}
		return ""
	}
	if m := conflict("b"); !strings.Contains(m, "240.0.0.7/32 port 5432") || !strings.Contains(m, "ServiceEntry app/a") {
		t.Errorf("b is told %q", m)
	}
	if conflict("a") != "" || conflict("c") != "" {
		t.Errorf("a is told %q, c %q", conflict("a"), conflict("c"))
	}
	e.Apply(res.Inputs.Batch([]source.Update{{Ref: objects[0].Ref}}, 2))
	if m := conflict("b"); m != "" {
		t.Errorf("a has gone, and b is still told %q", m)
	}
}
