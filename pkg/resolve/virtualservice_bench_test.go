package resolve

import (
	"fmt"
	"os"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
	"fairlead.io/fairlead/pkg/table"
)

// One VirtualService of 5,000 is edited: its binding and its judgement, without what comes after.
func BenchmarkVirtualServiceEdit(b *testing.B) {
	e := table.New(table.Options{})
	in, cfg := NewInputs(e), DefaultConfig()
	hosts := newHosts(e, cfg, in)
	newTraffic(e, cfg, in, hosts, newPolicies(e, cfg, in, hosts))
	base, err := os.ReadFile("testdata/traffic/base.yaml")
	if err != nil {
		b.Fatal(err)
	}
	read := func(text string) (updates []source.Update) {
		for _, o := range convert.NewFiles(nil).Convert("bench.yaml", []byte(text)).Objects {
			o.Meta.Created = time.Unix(1, 0)
			updates = append(updates, source.Update{Ref: o.Ref, Object: o.Object})
		}
		return updates
	}
	all := read(string(base))
	for i := range 5000 {
		all = append(all, read(vsManifest(fmt.Sprintf("v%d", i), fmt.Sprintf(`{hosts: [h%d.example.com], gateways: [edge], http: [
{match: [{uri: {prefix: /a}}], route: [{destination: {host: reviews, subset: v1}, weight: 9}, {destination: {host: reviews, subset: v2}, weight: 1}]},
{match: [{uri: {prefix: /b}}], route: [{destination: {host: ratings, port: {number: 80}}}]}, {route: [{destination: {host: reviews}}]}]}`, i)))...)
	}
	e.Apply(in.Batch(all, 1))
	last := *all[len(all)-1].Object.(*VirtualService)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		edited := last
		edited.ResourceVersion = fmt.Sprint(i)
		e.Apply(in.Batch([]source.Update{{Ref: edited.Ref, Object: &edited}}, uint64(i+2)))
	}
}
