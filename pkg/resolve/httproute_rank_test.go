package resolve

import (
	"math/rand/v2"
	"testing"
)

// The matches of all routes of a host are in the order that the API asks for, whichever object they come from.
func TestPrecedence(t *testing.T) {
	w := newAPIWorld(t, gatewayOf(plainGateway), routeOf("shop", "old", `
parentRefs: [{name: gw}]
rules:
- {name: any}
- {name: regex, matches: [{path: {type: RegularExpression, value: "/x.*"}}]}
- {name: prefix, matches: [{path: {value: /abc}}]}
- {name: header, matches: [{headers: [{name: a, value: b}, {name: A, value: c}]}]}
- {name: first, matches: [{path: {type: Exact, value: /same}}]}
- {name: second, matches: [{path: {type: Exact, value: /same}}]}`))
	w.apply(routeOf("shop", "b-young", `
parentRefs: [{name: gw}]
rules:
- {name: long-prefix, matches: [{path: {value: /abcd/}}]}
- {name: method, matches: [{path: {value: /abc/}, method: GET}]}
- {name: headers, matches: [{path: {value: /abc}, headers: [{name: a, value: b}, {name: c, value: d}]}]}
- {name: query, matches: [{path: {value: /abc}, headers: [{name: a, value: b}], queryParams: [{name: q, value: v}]}]}
- {name: less, matches: [{path: {value: /abc}, headers: [{name: a, value: b}]}]}
- {name: young, matches: [{path: {type: Exact, value: /same}}]}`),
		routeOf("shop", "a-young", "parentRefs: [{name: gw}]\nrules: [{name: lower, matches: [{path: {type: Exact, value: /same}}]}]"))
	want := []string{
		"old first", "old second", "a-young lower", "b-young young",
		"b-young long-prefix", "b-young method", "b-young headers", "b-young query", "b-young less", "old prefix", "old regex", "old header", "old any",
	}
	bindings := []*Binding{}
	for _, key := range []string{"shop/a-young", "shop/b-young", "shop/old"} {
		for i := range w.route(key).Bindings {
			bindings = append(bindings, &w.route(key).Bindings[i])
		}
	}
	for range 20 {
		rand.Shuffle(len(bindings), func(i, j int) { bindings[i], bindings[j] = bindings[j], bindings[i] })
		var got []string
		for _, rt := range sortHTTPRoutes(bindings) {
			got = append(got, nameOf(rt.Name))
		}
		equalLists(t, "order", got, want)
	}
	// Within one object the binding itself is in order, its ranks beside it.
	b := w.route("shop/old").Bindings[0]
	for i := 1; i < len(b.Ranks); i++ {
		if compareWithin(b.Ranks[i-1], b.Ranks[i]) >= 0 {
			t.Errorf("ranks %d and %d are not in order: %+v", i-1, i, b.Ranks)
		}
	}
}
