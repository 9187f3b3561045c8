package resolve

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

func vsManifest(name, spec string) string {
	return "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: " + name + ", namespace: shop}, spec: " + spec + "}"
}

// Editing one VirtualService runs it, its roots and its delegates, and who shares a match with it; nobody else.
func TestTrafficEditRunsFew(t *testing.T) {
	var many []string
	for i := range 50 {
		many = append(many, vsManifest(fmt.Sprintf("vs%d", i), fmt.Sprintf(`{hosts: [h%d.example.com], gateways: [edge], http: [{match: [{uri: {prefix: /%d}}], route: [{destination: {host: reviews}}]}]}`, i, i)))
	}
	w := newTrafficWorld(t, append(many,
		vsManifest("root", `{hosts: [reviews], http: [{match: [{uri: {prefix: /r}}], delegate: {name: leaf}}]}`),
		vsManifest("leaf", `{http: [{match: [{uri: {prefix: /r/1}}], route: [{destination: {host: reviews}}]}]}`),
		vsManifest("rival", `{hosts: [h1.example.com], gateways: [edge], http: [{match: [{uri: {prefix: /1}}], route: [{destination: {host: ratings, port: {number: 80}}}]}]}`))...)
	bound, judged := w.runs("virtualservices bound"), w.runs("virtualservice routes")
	step := func(what string, wantBound, wantJudged uint64, manifest string) {
		t.Helper()
		w.apply(manifest)
		if b, j := w.runs("virtualservices bound")-bound, w.runs("virtualservice routes")-judged; b != wantBound || j != wantJudged {
			t.Errorf("%s ran %d bindings and %d judgements, want %d and %d", what, b, j, wantBound, wantJudged)
		}
		bound, judged = w.runs("virtualservices bound"), w.runs("virtualservice routes")
	}
	step("an edit", 1, 1, vsManifest("vs7", `{hosts: [h7.example.com], gateways: [edge], http: [{match: [{uri: {prefix: /other}}], route: [{destination: {host: reviews}}]}]}`))
	step("an edit of a delegate", 2, 2, vsManifest("leaf", `{http: [{match: [{uri: {prefix: /r/2}}], route: [{destination: {host: reviews}}]}]}`))
	if got := w.routes("shop/root@istio").Bindings[0].Routes[0].Match.Path.Value; got != "/r/2" {
		t.Errorf("the root still has %s of its delegate", got)
	}
	// vs1 is edited and so younger: the rival now wins.
	step("an edit of a rival", 1, 2, vsManifest("vs1", `{hosts: [h1.example.com], gateways: [edge], http: [{match: [{uri: {prefix: /1}}], route: [{destination: {host: reviews}}], timeout: 1s}]}`))
	if c := w.routes("shop/rival@istio").Status.Conditions; !accepted(c[0]) {
		t.Errorf("the rival has lost its rival, but %+v", c)
	}
	if c := w.routes("shop/vs1@istio").Status.Conditions; c[0].Status || !strings.Contains(c[0].Message, "VirtualService shop/rival") {
		t.Errorf("the loser is not told who won: %+v", c)
	}
	// A Service that appears runs those that miss it.
	step("a new miss", 1, 1, vsManifest("vs9", `{hosts: [h9.example.com], gateways: [edge], http: [{route: [{destination: {host: late}}]}]}`))
	step("its Service", 1, 1, "{apiVersion: v1, kind: Service, metadata: {name: late, namespace: shop}, spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}}")
	if c := w.routes("shop/vs9@istio").Status.Conditions; !accepted(c[0]) {
		t.Errorf("the destination has come, but %+v", c)
	}
	ref := model.Ref{Group: model.IstioGroup, Kind: "VirtualService", Namespace: "shop", Name: "root"}
	w.e.Apply(w.in.Batch([]source.Update{{Ref: ref}}, 0))
	if c := w.routes("shop/leaf@istio").Status.Conditions; len(c) != 2 || c[1].Reason != reasonNotServed {
		t.Errorf("the delegate has lost its only root: %+v", c)
	}
}

// An object of one group prefers the Gateway and delegate of its own, and finds the other's.
func TestTrafficGroups(t *testing.T) {
	gateway := func(group, hosts string) string {
		return "{apiVersion: " + group + ", kind: Gateway, metadata: {name: both, namespace: shop}, spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [" + hosts + "]}]}}"
	}
	route := func(group string) string {
		return "{apiVersion: " + group + ", kind: VirtualService, metadata: {name: v, namespace: shop}, spec: {hosts: ['*'], gateways: [both], http: [{route: [{destination: {host: reviews}}]}]}}"
	}
	w := newTrafficWorld(t, gateway("fairlead.io/v1alpha1", "ours.example"), gateway("networking.istio.io/v1", "theirs.example"), route("fairlead.io/v1alpha1"), route("networking.istio.io/v1"))
	if got := w.routes("shop/v").Bindings[0].Host; got != "ours.example" {
		t.Errorf("fairlead.io binds to %s", got)
	}
	if got := w.routes("shop/v@istio").Bindings[0].Host; got != "theirs.example" {
		t.Errorf("networking.istio.io binds to %s", got)
	}
	w.e.Apply(w.in.Batch([]source.Update{{Ref: model.Ref{Group: model.Group, Kind: "Gateway", Namespace: "shop", Name: "both"}}}, 0))
	if got := w.routes("shop/v").Bindings[0].Host; got != "theirs.example" {
		t.Errorf("without its own, fairlead.io binds to %s", got)
	}
}

// The match of a delegated rule holds exactly where both hold.
func TestJoinedTermsHoldWhereBothDo(t *testing.T) {
	patterns := []string{"/a", "/a/b", "/A", "/ab", "/", "/a/b/c"}
	expressions := []string{"/a.*", "/[ab]", "/a/b", ".*c", "/(a|ab)"}
	path := rapid.Custom(func(t *rapid.T) model.PathMatch {
		m := model.PathMatch{Kind: rapid.SampledFrom([]model.PathMatchKind{model.PathAny, model.PathExact, model.PathStringPrefix, model.PathRegex}).Draw(t, "kind")}
		switch m.Kind {
		case model.PathRegex:
			m.Value = rapid.SampledFrom(expressions).Draw(t, "regex")
		case model.PathExact, model.PathStringPrefix:
			m.Value, m.IgnoreCase = rapid.SampledFrom(patterns).Draw(t, "value"), rapid.Bool().Draw(t, "fold")
		}
		return m
	})
	method := rapid.Custom(func(t *rapid.T) *model.StringMatch {
		if rapid.Bool().Draw(t, "any") {
			return nil
		}
		kind := rapid.SampledFrom([]model.StringMatchKind{model.MatchExact, model.MatchPrefix, model.MatchRegex}).Draw(t, "kind")
		return &model.StringMatch{Kind: kind, Value: rapid.SampledFrom([]string{"GET", "G", "PUT", "P"}).Draw(t, "value")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := matchTerm{port: 0}, matchTerm{}
		a.match.Path, b.match.Path = path.Draw(t, "root"), path.Draw(t, "rule")
		a.match.Method, b.match.Method = method.Draw(t, "root method"), method.Draw(t, "rule method")
		joined, clash := joinTerms(&a, &b)
		for _, p := range append(patterns, "/abc", "/a/B", "/b", "/c") {
			for _, m := range []string{"GET", "G", "PUT", "POST"} {
				for _, query := range []string{"", "?q=/a"} {
					want := holds(&a.match, p, query, m) && holds(&b.match, p, query, m)
					if got := clash == "" && holds(&joined.match, p, query, m); got != want {
						t.Fatalf("%s %s%s: joined %v, both %v (clash %q, joined %+v)", m, p, query, got, want, clash, joined.match)
					}
				}
			}
		}
	})
}

// holds evaluates the parts of a match that the test above varies.
func holds(m *model.RouteMatch, path, query, method string) bool {
	if m.Path.Kind != model.PathAny && !compares(pathString(m.Path), path) || m.Method != nil && !compares(*m.Method, method) {
		return false
	}
	for _, h := range m.Headers {
		value := map[string]string{":path": path + query, ":method": method}[h.Name]
		if !compares(h.Value, value) {
			return false
		}
	}
	return true
}

func compares(m model.StringMatch, s string) bool {
	if m.IgnoreCase && m.Kind != model.MatchRegex {
		m.Value, s = strings.ToLower(m.Value), strings.ToLower(s)
	}
	switch m.Kind {
	case model.MatchExact:
		return m.Value == s
	case model.MatchPrefix:
		return strings.HasPrefix(s, m.Value)
	}
	return regexp.MustCompile(`\A(?:` + m.Value + `)\z`).MatchString(s)
}
