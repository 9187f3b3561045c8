package translate

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

// routeMatch translates conditions that must all hold.
func routeMatch(m *model.RouteMatch) (*routev3.RouteMatch, error) {
	out := &routev3.RouteMatch{}
	if err := matchPath(out, m.Path); err != nil {
		return nil, err
	}
	if err := matchPseudoHeaders(out, m); err != nil {
		return nil, err
	}
	for _, h := range m.Headers {
		matcher, err := headerMatcher(h)
		if err != nil {
			return nil, err
		}
		out.Headers = append(out.Headers, matcher)
	}
	for _, q := range m.Query {
		if err := matchQuery(out, q); err != nil {
			return nil, err
		}
	}
	matchSource(out, m.Source)
	if m.GRPC {
		out.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	}
	if m.Fraction != nil {
		out.RuntimeFraction = runtimeFraction(*m.Fraction)
	}
	return out, nil
}

// matchPath sets the path specifier. Envoy compares without the query.
func matchPath(out *routev3.RouteMatch, p model.PathMatch) error {
	switch p.Kind {
	case model.PathAny:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
		return nil
	case model.PathExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: p.Value}
	case model.PathPrefix:
		prefix := strings.TrimRight(p.Value, "/")
		if prefix == "" {
			out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
			return nil
		}
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: prefix}
	case model.PathStringPrefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p.Value}
	case model.PathRegex:
		// case_sensitive does not count for expressions.
		expression, err := regexMatcher(p.Value, p.IgnoreCase)
		if err != nil {
			return fmt.Errorf("path: %w", err)
		}
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: expression}
		return nil
	default:
		return fmt.Errorf("path: unknown kind %d", p.Kind)
	}
	if p.IgnoreCase {
		out.CaseSensitive = wrapperspb.Bool(false)
	}
	return nil
}

// matchPseudoHeaders compares method, scheme and authority. As Istio does, the authority is compared as the client wrote
// it, port included.
func matchPseudoHeaders(out *routev3.RouteMatch, m *model.RouteMatch) error {
	for _, p := range []struct {
		name  string
		value *model.StringMatch
	}{{":method", m.Method}, {":scheme", m.Scheme}, {":authority", m.Authority}} {
		if p.value == nil {
			continue
		}
		matcher, err := headerMatcher(model.HeaderMatch{Name: p.name, Value: *p.value})
		if err != nil {
			return err
		}
		out.Headers = append(out.Headers, matcher)
	}
	return nil
}

// stringMatcher compares a value that is present.
func stringMatcher(m model.StringMatch) (*matcherv3.StringMatcher, error) {
	switch m.Kind {
	case model.MatchExact:
		return &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: m.Value}, IgnoreCase: m.IgnoreCase,
		}, nil
	case model.MatchPrefix:
		if m.Value == "" { // refused by Envoy's validation
			return stringMatcher(model.StringMatch{Kind: model.MatchPresent})
		}
		return &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: m.Value}, IgnoreCase: m.IgnoreCase,
		}, nil
	case model.MatchRegex, model.MatchPresent:
		pattern := m.Value
		if m.Kind == model.MatchPresent {
			pattern = ".*"
		}
		expression, err := regexMatcher(pattern, m.IgnoreCase) // ignore_case does not count for expressions
		if err != nil {
			return nil, err
		}
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: expression}}, nil
	}
	return nil, fmt.Errorf("unknown kind %d of a string match", m.Kind)
}

// regexMatcher is an RE2 expression that takes the whole value.
func regexMatcher(pattern string, ignoreCase bool) (*matcherv3.RegexMatcher, error) {
	if err := model.CheckRegex(pattern); err != nil {
		return nil, err
	}
	if ignoreCase {
		pattern = "(?i)" + pattern
	}
	return &matcherv3.RegexMatcher{Regex: pattern}, nil
}
