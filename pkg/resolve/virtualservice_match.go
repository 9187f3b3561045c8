package resolve

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// matchTerm is one match of a rule, together with the conditions that are decided where it is bound.
type matchTerm struct {
	// where is its place in the object, "http[0].match[1]"; name what the author calls it.
	where, name string
	match       model.RouteMatch
	port        uint16
	labels      map[string]string
	namespace   string
	// gateways are those that it counts for; nil means all of the object.
	gateways []string
}

// terms converts the matches of a rule. A match that cannot be evaluated is left out with a condition; a rule whose
// matches are all left out takes nothing, while a rule without matches takes everything.
func (v *vsRun) terms(list []v1alpha1.HTTPMatchRequest, path string) []matchTerm {
	if len(list) == 0 {
		return []matchTerm{{where: strings.TrimPrefix(path, "spec.")}}
	}
	var out []matchTerm
	for i := range list {
		if t, ok := v.term(&list[i], path+".match["+strconv.Itoa(i)+"]"); ok {
			out = append(out, t)
		}
	}
	return out
}

func (v *vsRun) term(m *v1alpha1.HTTPMatchRequest, path string) (matchTerm, bool) {
	t := matchTerm{
		where: strings.TrimPrefix(path, "spec."), name: m.Name,
		port: uint16(m.Port), labels: m.SourceLabels, namespace: m.SourceNamespace,
	}
	ok := m.Port >= 0 && m.Port <= 65535
	if !ok {
		v.refuse(reasonInvalid, path+".port", "%d is no port; use 1 to 65535", m.Port)
	}
	if m.StatPrefix != "" {
		v.unsupported(path+".statPrefix", "statistics are kept by cluster")
	}
	for _, g := range m.Gateways {
		t.gateways = append(t.gateways, v.gatewayName(g))
	}
	ok = v.matchGateways(t.gateways, path) && ok
	ok = v.matchPath(m, path, &t.match.Path) && ok
	for _, f := range []struct {
		field string
		from  *v1alpha1.StringMatch
		to    **model.StringMatch
	}{{"scheme", m.Scheme, &t.match.Scheme}, {"method", m.Method, &t.match.Method}, {"authority", m.Authority, &t.match.Authority}} {
		if f.from == nil {
			continue
		}
		s, good := v.stringMatch(*f.from, path+"."+f.field, false)
		*f.to, ok = &s, ok && good
	}
	ok = v.matchHeaders(m.Headers, path+".headers", false, &t.match.Headers) && ok
	ok = v.matchHeaders(m.WithoutHeaders, path+".withoutHeaders", true, &t.match.Headers) && ok
	ok = v.matchQuery(m.QueryParams, path+".queryParams", &t.match.Query) && ok
	return t, ok
}

// matchGateways checks that the gateways of a match are among those of the object, without which it never counts.
func (v *vsRun) matchGateways(names []string, path string) bool {
	for i, n := range names {
		if len(v.vs.Spec.Hosts) > 0 && !slices.ContainsFunc(v.declared(), func(d string) bool { return d == n }) {
			v.refuse(reasonInvalid, path+".gateways["+strconv.Itoa(i)+"]", "%s is not in spec.gateways, so the match never counts for it; add it there", n)
		}
	}
	return true
}

// declared are the complete names of spec.gateways.
func (v *vsRun) declared() []string {
	if len(v.vs.Spec.Gateways) == 0 {
		return []string{MeshConfig}
	}
	out := make([]string, len(v.vs.Spec.Gateways))
	for i, g := range v.vs.Spec.Gateways {
		out[i] = v.gatewayName(g)
	}
	return out
}

func (v *vsRun) matchPath(m *v1alpha1.HTTPMatchRequest, path string, to *model.PathMatch) bool {
	if m.URI == nil {
		return true
	}
	s, ok := v.stringMatch(*m.URI, path+".uri", false)
	to.Value, to.IgnoreCase = s.Value, m.IgnoreURICase
	switch s.Kind {
	case model.MatchExact:
		to.Kind = model.PathExact
	case model.MatchPrefix:
		to.Kind = model.PathStringPrefix
	case model.MatchRegex:
		to.Kind = model.PathRegex
		if m.IgnoreURICase {
			v.warn(reasonInvalid, path+".ignoreUriCase", `ignoreUriCase counts for exact and prefix only; begin the expression with "(?i)"`)
			to.IgnoreCase = false
		}
	}
	// What takes every path is written in one way, so that it is found to be equal and put last.
	if s.Kind == model.MatchPrefix && (s.Value == "" || s.Value == "/") || s.Kind == model.MatchRegex && (s.Value == ".*" || s.Value == "/.*") {
		*to = model.PathMatch{}
	}
	return ok
}

// stringMatch converts one comparison. Only headers and query parameters may ask for mere presence.
func (v *vsRun) stringMatch(m v1alpha1.StringMatch, path string, presence bool) (model.StringMatch, bool) {
	switch {
	case m.Exact != nil:
		return model.StringMatch{Kind: model.MatchExact, Value: *m.Exact}, true
	case m.Prefix != nil:
		return model.StringMatch{Kind: model.MatchPrefix, Value: *m.Prefix}, true
	case m.Regex != nil && presence && *m.Regex == "*":
		// No expression, but what many manifests have for "present"; Istio reads it so.
		return model.StringMatch{Kind: model.MatchPresent}, true
	case m.Regex != nil:
		if err := model.CheckRegex(*m.Regex); err != nil {
			v.refuse(reasonInvalid, path+".regex", "%s; the match is left out", err)
			return model.StringMatch{}, false
		}
		return model.StringMatch{Kind: model.MatchRegex, Value: *m.Regex}, true
	case presence:
		return model.StringMatch{Kind: model.MatchPresent}, true
	}
	v.refuse(reasonInvalid, path, "one of exact, prefix and regex is needed; the match is left out")
	return model.StringMatch{}, false
}

// notHeaders are names that Istio ignores under headers, as they have fields of their own.
var notHeaders = []string{"uri", "scheme", "method", "authority"}

func (v *vsRun) matchHeaders(from map[string]v1alpha1.StringMatch, path string, invert bool, to *[]model.HeaderMatch) bool {
	ok := true
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if slices.Contains(notHeaders, name) {
			v.warn(reasonUnsupported, path+"."+name, "%q under headers is ignored, as in Istio; use the field %s of the match", name, name)
			continue
		}
		if !headerName(name, true) {
			v.refuse(reasonInvalid, path+"."+name, "%q is no header name; the match is left out", name)
			ok = false
			continue
		}
		s, good := v.stringMatch(from[name], path+"."+name, true)
		ok = ok && good
		if s.Kind == model.MatchPrefix && s.Value == "" {
			s = model.StringMatch{Kind: model.MatchPresent}
		}
		*to = append(*to, model.HeaderMatch{Name: strings.ToLower(name), Value: s, Invert: invert})
	}
	return ok
}

func (v *vsRun) matchQuery(from map[string]v1alpha1.StringMatch, path string, to *[]model.HeaderMatch) bool {
	ok := true
	for _, name := range slices.Sorted(maps.Keys(from)) {
		s, good := v.stringMatch(from[name], path+"."+name, true)
		if name == "" {
			v.refuse(reasonInvalid, path, "a query parameter needs a name; the match is left out")
			good = false
		}
		ok = ok && good
		*to = append(*to, model.HeaderMatch{Name: name, Value: s})
	}
	return ok
}

// headerName tells whether s is a token of RFC 9110; pseudo allows a leading colon.
func headerName(s string, pseudo bool) bool {
	if pseudo {
		s = strings.TrimPrefix(s, ":")
	}
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return true
}
