package resolve

import (
	"regexp"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
)

// both pairs each match of a root's rule with each of a delegate's: both hold. Pairs that exclude each other are no
// fault, as long as the delegate's rule has one that does not.
func (v *vsRun) both(root, rule []matchTerm, d *VirtualService, path, at string) []matchTerm {
	var out []matchTerm
	why := ""
	for i := range root {
		for j := range rule {
			t, clash := joinTerms(&root[i], &rule[j])
			if clash != "" {
				why = clash
				continue
			}
			t.where = root[i].where + " > " + d.Ref.String() + " " + rule[j].where
			out = append(out, t)
		}
	}
	if len(out) == 0 && why != "" {
		v.refuse(reasonConflict, path+".delegate", "%s of %s is never used: its match and that of %s exclude each other (%s); make the delegate's match narrower than the root's", at, d.Ref.String(), path, why)
	}
	return out
}

// joinTerms is the match that holds where both hold; clash names the field that makes that impossible.
func joinTerms(a, b *matchTerm) (t matchTerm, clash string) {
	t = matchTerm{name: strings.Trim(a.name+"-"+b.name, "-"), port: max(a.port, b.port), labels: mergeMaps(a.labels, b.labels)}
	t.match.Headers = slices.Concat(a.match.Headers, b.match.Headers)
	t.match.Query = slices.Concat(a.match.Query, b.match.Query)
	var ok bool
	if t.match.Path, ok = joinPaths(a.match.Path, b.match.Path, &t.match.Headers); !ok {
		return t, "uri"
	}
	for _, f := range []struct {
		name, header string
		a, b         *model.StringMatch
		to           **model.StringMatch
	}{
		{"method", ":method", a.match.Method, b.match.Method, &t.match.Method},
		{"scheme", ":scheme", a.match.Scheme, b.match.Scheme, &t.match.Scheme},
		{"authority", ":authority", a.match.Authority, b.match.Authority, &t.match.Authority},
	} {
		if *f.to, ok = joinStrings(f.a, f.b, f.header, &t.match.Headers); !ok {
			return t, f.name
		}
	}
	switch {
	case a.port != 0 && b.port != 0 && a.port != b.port:
		return t, "port"
	case a.namespace != "" && b.namespace != "" && a.namespace != b.namespace:
		return t, "sourceNamespace"
	case !subset(a.labels, t.labels):
		return t, "sourceLabels"
	}
	t.namespace = a.namespace + b.namespace
	if a.namespace == b.namespace {
		t.namespace = a.namespace
	}
	t.gateways = b.gateways
	if a.gateways != nil {
		t.gateways = slices.DeleteFunc(slices.Clone(a.gateways), func(g string) bool { return b.gateways != nil && !slices.Contains(b.gateways, g) })
		if len(t.gateways) == 0 {
			return t, "gateways"
		}
	}
	return t, ""
}

// joinStrings keeps the narrower of two comparisons. Where that is not known, b becomes a header match beside a.
func joinStrings(a, b *model.StringMatch, header string, headers *[]model.HeaderMatch) (*model.StringMatch, bool) {
	switch {
	case a == nil:
		return b, true
	case b == nil || *a == *b:
		return a, true
	}
	narrow, known := narrower(*a, *b)
	if !known {
		*headers = append(*headers, model.HeaderMatch{Name: header, Value: *b})
		return a, true
	}
	return narrow, narrow != nil
}

// narrower decides between two different comparisons: nil and true when no string satisfies both, false when it cannot
// tell.
func narrower(a, b model.StringMatch) (*model.StringMatch, bool) {
	if a.Kind > b.Kind {
		a, b = b, a
	}
	if a.IgnoreCase != b.IgnoreCase || (a.IgnoreCase && b.Kind == model.MatchRegex) {
		return nil, false
	}
	fold := func(s string) string {
		if a.IgnoreCase {
			return strings.ToLower(s)
		}
		return s
	}
	x, y := fold(a.Value), fold(b.Value)
	switch {
	case a.Kind == model.MatchExact && b.Kind == model.MatchExact:
		if x == y {
			return &a, true
		}
		return nil, true
	case a.Kind == model.MatchExact && b.Kind == model.MatchPrefix:
		if strings.HasPrefix(x, y) {
			return &a, true
		}
		return nil, true
	case a.Kind == model.MatchExact && b.Kind == model.MatchRegex:
		re, err := regexp.Compile(`\A(?:` + b.Value + `)\z`)
		if err == nil && re.MatchString(a.Value) {
			return &a, true
		}
		return nil, err == nil
	case a.Kind == model.MatchPrefix && b.Kind == model.MatchPrefix:
		if strings.HasPrefix(x, y) {
			return &a, true
		}
		if strings.HasPrefix(y, x) {
			return &b, true
		}
		return nil, true
	}
	return nil, false
}

// joinPaths keeps the narrower of two path matches. Where that is not known, the root's becomes an expression on :path,
// which has the query too; the delegate's stays the path match, as a rewrite works on it.
func joinPaths(root, rule model.PathMatch, headers *[]model.HeaderMatch) (model.PathMatch, bool) {
	if root.Kind == model.PathAny || root == rule {
		return rule, true
	}
	if rule.Kind == model.PathAny {
		return root, true
	}
	a, b := pathString(root), pathString(rule)
	narrow, known := narrower(a, b)
	if known {
		switch {
		case narrow == nil:
			return rule, false
		case *narrow == a:
			return root, true
		}
		return rule, true
	}
	*headers = append(*headers, model.HeaderMatch{Name: ":path", Value: model.StringMatch{Kind: model.MatchRegex, Value: wholePath(a)}})
	return rule, true
}

func pathString(p model.PathMatch) model.StringMatch {
	s := model.StringMatch{Value: p.Value, IgnoreCase: p.IgnoreCase}
	switch p.Kind {
	case model.PathStringPrefix, model.PathPrefix:
		s.Kind = model.MatchPrefix
	case model.PathRegex:
		s.Kind = model.MatchRegex
	}
	return s
}

// wholePath is a comparison of the path as an expression on the path with its query.
func wholePath(s model.StringMatch) string {
	flags := ""
	if s.IgnoreCase {
		flags = "(?i)"
	}
	switch s.Kind {
	case model.MatchExact:
		return flags + regexp.QuoteMeta(s.Value) + `(?:\?.*)?`
	case model.MatchPrefix:
		return flags + regexp.QuoteMeta(s.Value) + `.*`
	}
	return "(?:" + s.Value + `)(?:\?.*)?`
}
