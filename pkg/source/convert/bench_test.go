package convert_test

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/source/convert"
	"fairlead.io/fairlead/pkg/source/schema"
)

// BenchmarkReadVirtualServices is one small VirtualService of a file, checked by its schema.
func BenchmarkReadVirtualServices(b *testing.B) {
	files := convert.NewFiles(schema.New())
	var text strings.Builder
	const n = 200
	for i := range n {
		fmt.Fprintf(&text, "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v%d}\nspec:\n  hosts: [a]\n  http:\n"+
			"  - match: [{uri: {prefix: /a}, headers: {x: {exact: z}}}]\n    route:\n    - destination: {host: a, subset: v1}\n      weight: 90\n"+
			"    - destination: {host: a, subset: v2}\n      weight: 10\n    timeout: 1s\n    retries: {attempts: 3}\n", i)
	}
	data := []byte(text.String())
	files.Convert("warm", data)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if r := files.Convert("f", data); len(r.Objects) != n {
			b.Fatal(r.Problems[0])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/object")
}
