package resolve

import (
	"net/http"
	"regexp"
	"strings"

	"fairlead.io/fairlead/pkg/model"
)

// preflight is the route for the CORS preflights of a route that takes requests by their method. A browser asks by OPTIONS
// whether it may send the request, and Envoy answers from the policy of the route that takes the question; without one more
// route that would be another, or none. false when the route has no policy or takes OPTIONS itself.
func preflight(rt *model.Route) (model.Route, bool) {
	if rt.CORS == nil || rt.Forward == nil { // only what forwards has a policy in Envoy
		return model.Route{}, false
	}
	methods, rest := methodConditions(&rt.Match)
	taken := true
	for _, m := range methods {
		taken = taken && takes(m.Value, http.MethodOptions) != m.Invert
	}
	if taken {
		return model.Route{}, false
	}
	out := *rt
	out.Name += " preflight"
	out.Match.Method = &model.StringMatch{Kind: model.MatchExact, Value: http.MethodOptions}
	out.Match.Headers = rest
	for _, m := range methods {
		m.Name = "access-control-request-method"
		out.Match.Headers = append(out.Match.Headers, m)
	}
	// Without an origin it is no preflight.
	out.Match.Headers = append(out.Match.Headers, model.HeaderMatch{Name: "origin", Value: model.StringMatch{Kind: model.MatchPresent}})
	return out, true
}

// methodConditions parts the conditions on the method, which may be written as a header too, from those on other headers.
func methodConditions(m *model.RouteMatch) (methods, rest []model.HeaderMatch) {
	if m.Method != nil {
		methods = append(methods, model.HeaderMatch{Name: ":method", Value: *m.Method})
	}
	for _, h := range m.Headers {
		if h.Name == ":method" {
			methods = append(methods, h)
		} else {
			rest = append(rest, h)
		}
	}
	return methods, rest
}

// takes tells whether a comparison holds for a value.
func takes(m model.StringMatch, value string) bool {
	flags, want := "", m.Value
	if m.IgnoreCase {
		flags = "(?i)"
		want, value = strings.ToLower(want), strings.ToLower(value)
	}
	switch m.Kind {
	case model.MatchExact:
		return want == value
	case model.MatchPrefix:
		return strings.HasPrefix(value, want)
	case model.MatchRegex:
		re, err := regexp.Compile(flags + `\A(?:` + m.Value + `)\z`)
		return err == nil && re.MatchString(value)
	}
	return true
}
