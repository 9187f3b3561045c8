package resolve

import (
	"cmp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
)

// Rank is the precedence of one match of an HTTPRoute among all matches of a host (Gateway API, HTTPRouteRule.matches).
// The age and name of the object come from the Binding's Meta.
type Rank struct {
	// Path is exactPath … anyPath; Length the characters of its value.
	Path, Length int
	Method       bool
	// Headers and Query count distinct names.
	Headers, Query int
	// Rule and Match are the places in the object.
	Rule, Match int
}

// The classes of a path match, in order of precedence. Where a regular expression stands is the implementation's choice:
// after every prefix but "/", which is also what a match without a path means and would hide all expressions.
const (
	exactPath = iota
	prefixPath
	regexPath
	anyPath
)

// compare gives the order of two matches as far as the matches themselves decide it.
func (a Rank) compare(b Rank) int {
	if a.Method != b.Method && a.Path == b.Path && a.Length == b.Length {
		if a.Method {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(a.Path, b.Path),
		cmp.Compare(b.Length, a.Length),
		cmp.Compare(b.Headers, a.Headers),
		cmp.Compare(b.Query, a.Query),
	)
}

// compareWithin gives the order of two matches of one object.
func compareWithin(a, b Rank) int {
	return cmp.Or(a.compare(b), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Match, b.Match))
}

// rankOf gives the rank of one match.
func rankOf(m *gatewayv1.HTTPRouteMatch, rule, match int) Rank {
	k := Rank{Path: anyPath, Rule: rule, Match: match, Method: m.Method != nil}
	kind, value := pathOf(m)
	switch {
	case kind == gatewayv1.PathMatchExact:
		k.Path, k.Length = exactPath, len(value)
	case kind == gatewayv1.PathMatchRegularExpression:
		k.Path, k.Length = regexPath, len(value)
	case strings.Trim(value, "/") != "":
		k.Path, k.Length = prefixPath, len(strings.TrimRight(value, "/"))
	}
	k.Headers = distinct(m.Headers, func(h gatewayv1.HTTPHeaderMatch) string { return strings.ToLower(string(h.Name)) })
	k.Query = distinct(m.QueryParams, func(q gatewayv1.HTTPQueryParamMatch) string { return string(q.Name) })
	return k
}

func pathOf(m *gatewayv1.HTTPRouteMatch) (gatewayv1.PathMatchType, string) {
	kind, value := gatewayv1.PathMatchPathPrefix, "/"
	if m.Path != nil {
		if m.Path.Type != nil {
			kind = *m.Path.Type
		}
		if m.Path.Value != nil {
			value = *m.Path.Value
		}
	}
	return kind, value
}

func distinct[T any](list []T, name func(T) string) int {
	seen := map[string]bool{}
	for _, v := range list {
		seen[name(v)] = true
	}
	return len(seen)
}

// sortHTTPRoutes merges what several HTTPRoutes contribute to one host, in order of precedence.
func sortHTTPRoutes(bindings []*Binding) []model.Route {
	type ranked struct {
		b *Binding
		i int
	}
	var all []ranked
	for _, b := range bindings {
		for i := range b.Routes {
			all = append(all, ranked{b, i})
		}
	}
	slices.SortStableFunc(all, func(x, y ranked) int {
		a, b := x.b.Ranks[x.i], y.b.Ranks[y.i]
		if c := a.compare(b); c != 0 {
			return c
		}
		if x.b.Meta.Ref == y.b.Meta.Ref {
			return compareWithin(a, b)
		}
		if x.b.Meta.Older(y.b.Meta) {
			return -1
		}
		return 1
	})
	out := make([]model.Route, len(all))
	for i, x := range all {
		out[i] = x.b.Routes[x.i]
	}
	return out
}
