package resolve

import (
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
)

// match maps one match; ok is false when it cannot be evaluated, which the rule then says.
func (b *ruleBuild) match(m *gatewayv1.HTTPRouteMatch, path string) (out model.RouteMatch, ok bool) {
	before := len(b.invalid)
	kind, value := pathOf(m)
	out.Path.Value = value
	switch kind {
	case gatewayv1.PathMatchExact:
		out.Path.Kind = model.PathExact
	case gatewayv1.PathMatchPathPrefix:
		out.Path.Kind = model.PathPrefix
		if strings.Trim(value, "/") == "" {
			out.Path = model.PathMatch{Kind: model.PathAny}
		}
	case gatewayv1.PathMatchRegularExpression:
		out.Path.Kind = model.PathRegex
		b.regex(value, path+".path.value")
	default:
		b.unsupported(path+".path.type", "%q is not known; use Exact, PathPrefix or RegularExpression", kind)
	}
	if kind != gatewayv1.PathMatchRegularExpression && !strings.HasPrefix(value, "/") {
		b.unsupported(path+".path.value", "%q does not start with a slash", value)
	}
	if m.Method != nil {
		out.Method = &model.StringMatch{Kind: model.MatchExact, Value: string(*m.Method)}
	}
	seen := map[string]bool{}
	for i, h := range m.Headers {
		// "only the first entry with an equivalent name MUST be considered" (HTTPHeaderMatch.name).
		if name := strings.ToLower(string(h.Name)); !seen[name] {
			seen[name] = true
			regex := h.Type != nil && *h.Type == gatewayv1.HeaderMatchRegularExpression
			known := h.Type == nil || regex || *h.Type == gatewayv1.HeaderMatchExact
			out.Headers = append(out.Headers, model.HeaderMatch{Name: name, Value: b.value(h.Value, regex, known, path+".headers["+strconv.Itoa(i)+"]")})
			if !validHeaderName(name) {
				b.unsupported(path+".headers["+strconv.Itoa(i)+"].name", "%q is no name of a header", h.Name)
			}
		}
	}
	seen = map[string]bool{}
	for i, q := range m.QueryParams {
		if name := string(q.Name); !seen[name] {
			seen[name] = true
			regex := q.Type != nil && *q.Type == gatewayv1.QueryParamMatchRegularExpression
			known := q.Type == nil || regex || *q.Type == gatewayv1.QueryParamMatchExact
			out.Query = append(out.Query, model.HeaderMatch{Name: name, Value: b.value(q.Value, regex, known, path+".queryParams["+strconv.Itoa(i)+"]")})
		}
	}
	return out, len(b.invalid) == before
}

func (b *ruleBuild) value(v string, regex, known bool, path string) model.StringMatch {
	if !known {
		b.unsupported(path+".type", "that type is not known; use Exact or RegularExpression")
	}
	if regex {
		b.regex(v, path+".value")
		return model.StringMatch{Kind: model.MatchRegex, Value: v}
	}
	return model.StringMatch{Kind: model.MatchExact, Value: v}
}

func (b *ruleBuild) regex(pattern, path string) {
	if err := model.CheckRegex(pattern); err != nil {
		b.unsupported(path, "%s", err)
	}
}

// validHeaderName tells whether a name is a token (RFC 9110, 5.6.2).
func validHeaderName(name string) bool {
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return name != ""
}
