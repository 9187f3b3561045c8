package resolve_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
	"fairlead.io/fairlead/pkg/table"
)

// destinations is a world of Services, ServiceEntries and rules, made of manifests.
type destinations struct {
	t         testing.TB
	engine    *table.Engine
	res       *resolve.Resolved
	hosts     *table.Output[*model.Host]
	clusters  *table.Output[*model.Cluster]
	endpoints *table.Output[*model.ClusterEndpoints]
	rules     *table.Output[*model.ObjectStatus]
	entries   *table.Output[*model.ObjectStatus]
	workloads *table.Output[*model.ObjectStatus]
	probe     *table.Output[string] // nil unless a test reads as routes do
	born      map[model.Ref]time.Time
	position  uint64
}

func newDestinations(t testing.TB, manifests ...string) *destinations {
	t.Helper()
	return newDestinationsWith(t, nil, manifests...)
}

func newDestinationsWith(t testing.TB, probe func(*table.Engine, *resolve.Resolved) *table.Output[string], manifests ...string) *destinations {
	t.Helper()
	e := table.New(table.Options{Strict: true, Why: true, Logger: slog.New(slog.DiscardHandler)})
	res := resolve.New(e, resolve.DefaultConfig())
	d := &destinations{
		t: t, engine: e, res: res, born: map[model.Ref]time.Time{},
		hosts: table.Publish(res.Hosts.Table), clusters: table.Publish(res.Clusters.Table), endpoints: table.Publish(res.Endpoints.Table),
		rules: table.Publish(res.Policies.Status), entries: table.Publish(res.Hosts.Status), workloads: table.Publish(res.Endpoints.Status),
	}
	if probe != nil {
		d.probe = probe(e, res)
	}
	d.apply(manifests...)
	return d
}

// apply runs one pass over manifests, whose objects are younger than all before them.
func (d *destinations) apply(manifests ...string) {
	d.t.Helper()
	d.position++
	res := convert.NewFiles(nil).Convert("in.yaml", []byte(strings.Join(manifests, "\n---\n")))
	for _, p := range res.Problems {
		d.t.Fatalf("line %d: %s", p.Line, p.Message)
	}
	var updates []source.Update
	for _, o := range res.Objects {
		if d.born[o.Ref].IsZero() {
			d.born[o.Ref] = time.Unix(1700000000+int64(len(d.born)), 0)
		}
		o.Meta.Created = d.born[o.Ref]
		updates = append(updates, source.Update{Ref: o.Ref, Object: o.Object})
	}
	d.engine.Apply(d.res.Inputs.Batch(updates, d.position))
}

func (d *destinations) remove(ref model.Ref) {
	d.position++
	d.engine.Apply(d.res.Inputs.Batch([]source.Update{{Ref: ref}}, d.position))
}

func (d *destinations) cluster(name string) *model.Cluster {
	d.t.Helper()
	c, ok := d.clusters.Get(d.engine.Snapshot(), name)
	if !ok {
		d.t.Fatalf("there is no cluster %s", name)
	}
	return c
}

// addresses are the endpoints of a cluster as "address:port", a draining one with "!" before it.
func (d *destinations) addresses(name string) string {
	d.t.Helper()
	e, ok := d.endpoints.Get(d.engine.Snapshot(), name)
	if !ok {
		return "none"
	}
	return list(e.Endpoints)
}

func list(endpoints []model.ClusterEndpoint) string {
	var out []string
	for _, e := range endpoints {
		mark := ""
		if e.Draining {
			mark = "!"
		}
		js, _ := json.Marshal(e.Port)
		out = append(out, mark+e.Address+":"+string(js))
	}
	return strings.Join(out, " ")
}

// said finds a condition by its path; its message must contain a text.
func (d *destinations) said(out *table.Output[*model.ObjectStatus], key, path, text string) model.Condition {
	d.t.Helper()
	s, ok := out.Get(d.engine.Snapshot(), key)
	if !ok {
		d.t.Fatalf("there is no status of %s", key)
	}
	for _, c := range s.Conditions {
		if c.Path == path && strings.Contains(c.Message, text) {
			return c
		}
	}
	d.t.Fatalf("%s: no condition at %s with %q in %+v", key, path, text, s.Conditions)
	return model.Condition{}
}

// accepted asserts that nothing is said against an object.
func (d *destinations) accepted(out *table.Output[*model.ObjectStatus], key string) {
	d.t.Helper()
	s, ok := out.Get(d.engine.Snapshot(), key)
	if !ok || len(s.Conditions) != 1 || !s.Conditions[0].Status {
		d.t.Fatalf("%s: want accepted without warnings, got %+v", key, s)
	}
}

// testCA is a self-signed certificate whose key is not kept.
const testCA = `-----BEGIN CERTIFICATE-----
MIIBejCCASGgAwIBAgIULWUnYdCmGfKlukXaYL0SUmENvM8wCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHdGVzdC1jYTAgFw0yNjExMjEwNjUzNDlaGA8yMTI2MTAyODA2
NTM0OVowEjEQMA4GA1UEAwwHdGVzdC1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABM5EWuB+ucUSUX2dm8Ha2O58BouEeof2Z21g/DW4KHrv33kSjK7+UhSuJPvp
qoKvw0x6Kk0W37ON7LqxNUPQvwyjUzBRMB0GA1UdDgQWBBSYGlVuRZIEcDQccWeB
HrlRYrAnyzAfBgNVHSMEGDAWgBSYGlVuRZIEcDQccWeBHrlRYrAnyzAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIExxx0YH5Twx5fJdWS0utpdyfhGw
35SbgM9ddEStlPmXAiBfb+u218dpDF4UqMdfPKTJuN3Bl4iISY+wzsvRtPI+yA==
-----END CERTIFICATE-----`

func indented(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") + "\n" }
