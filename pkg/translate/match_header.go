package translate

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"fairlead.io/fairlead/pkg/model"
)

var headerName = regexp.MustCompile("^:?[0-9A-Za-z!#$%&'*+.^_|~`-]+$")

// headerMatcher compares one header. Of a header that is there several times Envoy 1.40 compares each line by itself: one that
// matches is enough, and inverted none may. A list inside one line ("a, b") is one value.
func headerMatcher(h model.HeaderMatch) (*routev3.HeaderMatcher, error) {
	name := strings.ToLower(h.Name)
	if name == "host" { // Envoy keeps it under this name in every HTTP version
		name = ":authority"
	}
	if !headerName.MatchString(name) {
		return nil, fmt.Errorf("%q is not a header name", h.Name)
	}
	out := &routev3.HeaderMatcher{Name: name, InvertMatch: h.Invert}
	if takesAll(h.Value) {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		return out, nil
	}
	// Without this an absent header never matches, inverted or not. An expression that takes the empty value and is
	// inverted therefore refuses requests without the header (as in Istio).
	out.TreatMissingHeaderAsEmpty = h.Invert
	matcher, err := stringMatcher(h.Value)
	if err != nil {
		return nil, fmt.Errorf("header %s: %w", name, err)
	}
	out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: matcher}
	return out, nil
}

// takesAll tells that every value that is present matches.
func takesAll(m model.StringMatch) bool {
	switch m.Kind {
	case model.MatchPresent:
		return true
	case model.MatchPrefix:
		return m.Value == ""
	case model.MatchRegex:
		return m.Value == ".*"
	}
	return false
}

// matchQuery compares the first value of a query parameter, as it is encoded in the URL.
func matchQuery(out *routev3.RouteMatch, q model.HeaderMatch) error {
	if q.Name == "" {
		return fmt.Errorf("query parameter without a name")
	}
	if q.Invert {
		return matchNoQuery(out, q)
	}
	matcher := &routev3.QueryParameterMatcher{Name: q.Name}
	if takesAll(q.Value) {
		matcher.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	} else {
		value, err := stringMatcher(q.Value)
		if err != nil {
			return fmt.Errorf("query parameter %s: %w", q.Name, err)
		}
		matcher.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: value}
	}
	out.QueryParameters = append(out.QueryParameters, matcher)
	return nil
}

// matchNoQuery inverts a query parameter's match. Envoy's own matcher cannot, so the :path is compared, query included.
func matchNoQuery(out *routev3.RouteMatch, q model.HeaderMatch) error {
	value := "[^&#]*"
	switch {
	case takesAll(q.Value):
		value = "(?:=[^&#]*)?"
	case q.Value.Kind == model.MatchExact:
		value = "=" + regexp.QuoteMeta(q.Value.Value)
	case q.Value.Kind == model.MatchPrefix:
		value = "=" + regexp.QuoteMeta(q.Value.Value) + value
	case q.Value.Kind == model.MatchRegex:
		value = "=(?:" + q.Value.Value + ")"
	}
	if q.Value.IgnoreCase {
		value = "(?i:" + value + ")"
	}
	name := regexp.QuoteMeta(url.QueryEscape(q.Name))
	expression, err := regexMatcher(`[^?]*\?(?:.*&)?`+name+value+`(?:&.*)?`, false)
	if err != nil {
		return fmt.Errorf("query parameter %s: %w", q.Name, err)
	}
	out.Headers = append(out.Headers, &routev3.HeaderMatcher{
		Name: ":path", InvertMatch: true,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: expression},
		}},
	})
	return nil
}
