package translate

import (
	"regexp"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
)

// What a gRPC client always sends (gRPC over HTTP/2).
const (
	grpcMethod = "POST"
	grpcScheme = "http"
)

// fitsGRPC tells that gRPC clients read a host as Envoy does.
func fitsGRPC(v *model.VirtualHost) bool {
	return !slices.ContainsFunc(v.Routes, func(r model.Route) bool {
		m := &r.Match
		return m.Source != nil || m.Method != nil || m.Scheme != nil || m.Authority != nil || segments(m.Path) || r.CORS != nil ||
			r.Forward != nil && r.Forward.Timeout != nil
	})
}

// segments tells that whole segments of a path are compared, for which gRPC has no matcher of its own.
func segments(p model.PathMatch) bool {
	return p.Kind == model.PathPrefix && strings.TrimRight(p.Value, "/") != ""
}

// sourceNamespaces are those that routes tell apart, sorted.
func sourceNamespaces(v *model.VirtualHost) []string {
	var out []string
	for i := range v.Routes {
		if s := v.Routes[i].Match.Source; s != nil {
			out = append(out, s.Namespaces...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// grpcHost is a host for gRPC clients of a namespace. They ignore the matchers that they do not know (filter state), and
// would take routes that are not for them: such a condition is decided here, and a route that can never be taken is left
// out. What they refuse for the whole table is left out too (gRFC A28, A31, A44).
func grpcHost(v *model.VirtualHost, namespace string) *model.VirtualHost {
	out := *v
	out.Routes = nil
	for _, r := range v.Routes {
		if !takesGRPC(&r.Match, namespace) {
			continue
		}
		r.Match.Source, r.Match.Method, r.Match.Scheme, r.CORS = nil, nil, nil, nil
		if p := r.Match.Path; segments(p) {
			r.Match.Path.Kind = model.PathRegex
			r.Match.Path.Value = regexp.QuoteMeta(strings.TrimRight(p.Value, "/")) + "(/.*)?"
		}
		if f := r.Forward; f != nil && f.Timeout != nil && *f.Timeout > 0 && f.MaxStreamDuration == nil {
			limited := *f
			limited.MaxStreamDuration = f.Timeout // the only limit that they know
			r.Forward = &limited
		}
		out.Routes = append(out.Routes, r)
	}
	return &out
}

// takesGRPC decides what is known of every request of such a client. Its labels are not known, so that a route for some
// labels is for others; neither is the authority, which its program may choose.
func takesGRPC(m *model.RouteMatch, namespace string) bool {
	if s := m.Source; s != nil {
		if len(s.Labels) > 0 || len(s.Namespaces) > 0 && !slices.Contains(s.Namespaces, namespace) {
			return false
		}
	}
	return m.Authority == nil && isText(m.Method, grpcMethod) && isText(m.Scheme, grpcScheme)
}

// isText compares a value that is known before.
func isText(m *model.StringMatch, value string) bool {
	if m == nil {
		return true
	}
	want := m.Value
	if m.IgnoreCase && m.Kind != model.MatchRegex {
		want, value = strings.ToLower(want), strings.ToLower(value)
	}
	switch m.Kind {
	case model.MatchExact:
		return value == want
	case model.MatchPrefix:
		return strings.HasPrefix(value, want)
	case model.MatchRegex:
		if m.IgnoreCase {
			want = "(?i)" + want
		}
		re, err := regexp.Compile("^(?:" + want + ")$")
		return err == nil && re.MatchString(value)
	}
	return true
}
