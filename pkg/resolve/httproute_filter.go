package resolve

import (
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
)

// million is all requests, in the model's unit of shares.
const million = 1_000_000

// filters applies the filters of the rule and those of its backends.
func (b *ruleBuild) filters(f *model.Forward, backends []model.Backend) {
	b.apply(b.spec.Filters, b.path+".filters", &filterTarget{
		forward: f, request: &b.action.RequestHeaders, response: &b.action.ResponseHeaders, host: &f.HostRewrite, whole: true,
	})
	for i := range b.spec.BackendRefs {
		// What only a whole route can do is possible for the only backend of a rule.
		b.apply(b.spec.BackendRefs[i].Filters, b.path+".backendRefs["+strconv.Itoa(i)+"].filters", &filterTarget{
			forward: f, request: &backends[i].RequestHeaders, response: &backends[i].ResponseHeaders, host: &backends[i].HostRewrite,
			whole: len(b.spec.BackendRefs) == 1,
		})
	}
}

// filterTarget is where the filters of one list take effect.
type filterTarget struct {
	forward           *model.Forward
	request, response *model.HeaderMods
	host              *string
	whole             bool // for all requests of the rule
}

// apply maps one list of filters.
func (b *ruleBuild) apply(filters []gatewayv1.HTTPRouteFilter, path string, t *filterTarget) {
	seen := map[gatewayv1.HTTPRouteFilterType]bool{}
	for i := range filters {
		f, path := &filters[i], path+"["+strconv.Itoa(i)+"]"
		if seen[f.Type] && f.Type != gatewayv1.HTTPRouteFilterRequestMirror && f.Type != gatewayv1.HTTPRouteFilterExtensionRef {
			b.reject(gatewayv1.RouteReasonIncompatibleFilters, path, "%s is given twice; write one filter", f.Type)
			continue
		}
		seen[f.Type] = true
		b.filter(f, path, t)
	}
	if seen[gatewayv1.HTTPRouteFilterRequestRedirect] && seen[gatewayv1.HTTPRouteFilterURLRewrite] {
		b.reject(gatewayv1.RouteReasonIncompatibleFilters, path, "RequestRedirect and URLRewrite cannot be combined; remove one of them")
	}
}

func (b *ruleBuild) filter(f *gatewayv1.HTTPRouteFilter, path string, t *filterTarget) {
	missing := func() { b.unsupported(path, "a filter of type %s needs its field of that name", f.Type) }
	switch f.Type {
	case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
		if f.RequestHeaderModifier == nil {
			missing()
			return
		}
		*t.request = b.headers(f.RequestHeaderModifier, path+".requestHeaderModifier")
	case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		if f.ResponseHeaderModifier == nil {
			missing()
			return
		}
		*t.response = b.headers(f.ResponseHeaderModifier, path+".responseHeaderModifier")
	case gatewayv1.HTTPRouteFilterURLRewrite:
		if f.URLRewrite == nil {
			missing()
			return
		}
		b.rewrite(f.URLRewrite, path+".urlRewrite", t)
	case gatewayv1.HTTPRouteFilterExtensionRef:
		b.unsupported(path+".extensionRef", "filters of other kinds are not supported; the requests of this rule are answered by 500 until it is removed")
	case gatewayv1.HTTPRouteFilterExternalAuth:
		b.unsupported(path+".externalAuth", "external authorization is not supported; the requests of this rule are answered by 500 until it is removed")
	default:
		b.wholeFilter(f, path, t, missing)
	}
}

// wholeFilter maps the filters that only a whole route can have.
func (b *ruleBuild) wholeFilter(f *gatewayv1.HTTPRouteFilter, path string, t *filterTarget, missing func()) {
	if !t.whole {
		b.unsupported(path, "%s is not supported for one backend of several; set it for the rule, or make a rule of the backend", f.Type)
		return
	}
	switch {
	case f.Type == gatewayv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil:
		b.mirror(f.RequestMirror, path+".requestMirror", t.forward)
	case f.Type == gatewayv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil:
		b.action.Redirect = b.redirect(f.RequestRedirect, path+".requestRedirect")
	case f.Type == gatewayv1.HTTPRouteFilterCORS && f.CORS != nil:
		b.action.CORS = cors(f.CORS)
	case f.Type == gatewayv1.HTTPRouteFilterRequestMirror, f.Type == gatewayv1.HTTPRouteFilterRequestRedirect, f.Type == gatewayv1.HTTPRouteFilterCORS:
		missing()
	default:
		b.unsupported(path+".type", "filters of type %s are not known", f.Type)
	}
}

// headers maps a header modifier. Names that Envoy refuses to change are refused here, by name.
func (b *ruleBuild) headers(f *gatewayv1.HTTPHeaderFilter, path string) model.HeaderMods {
	var mods model.HeaderMods
	check := func(name, path string) {
		switch {
		case strings.EqualFold(name, "host"):
			b.unsupported(path, "the Host header is changed by a URLRewrite filter with hostname")
		case !validHeaderName(name):
			b.unsupported(path, "%q is no name of a header", name)
		}
	}
	list := func(in []gatewayv1.HTTPHeader, path string) (out []model.Header) {
		for i, h := range in {
			at := path + "[" + strconv.Itoa(i) + "]"
			check(string(h.Name), at+".name")
			if strings.ContainsAny(h.Value, "\x00\r\n") {
				b.unsupported(at+".value", "a header's value has no line breaks")
			}
			out = append(out, model.Header{Name: string(h.Name), Value: h.Value})
		}
		return out
	}
	mods.Set, mods.Add = list(f.Set, path+".set"), list(f.Add, path+".add")
	for i, name := range f.Remove {
		check(name, path+".remove["+strconv.Itoa(i)+"]")
		mods.Remove = append(mods.Remove, name)
	}
	return mods
}

// rewrite maps a URLRewrite.
func (b *ruleBuild) rewrite(f *gatewayv1.HTTPURLRewriteFilter, path string, t *filterTarget) {
	if f.Hostname != nil {
		*t.host = string(*f.Hostname)
	}
	if f.Path == nil {
		return
	}
	if !t.whole {
		b.unsupported(path+".path", "a path is not rewritten for one backend of several; set it for the rule, or make a rule of the backend")
		return
	}
	full, prefix := b.modify(f.Path, path+".path")
	t.forward.PathRewrite = &model.PathRewrite{Full: full, Prefix: prefix}
}

// modify reads a path modifier: the whole path, or what replaces the matched prefix.
func (b *ruleBuild) modify(m *gatewayv1.HTTPPathModifier, path string) (full, prefix *string) {
	switch {
	case m.Type == gatewayv1.FullPathHTTPPathModifier && m.ReplaceFullPath != nil:
		if path += ".replaceFullPath"; !strings.HasPrefix(*m.ReplaceFullPath, "/") {
			b.unsupported(path, "%q does not start with a slash", *m.ReplaceFullPath)
		}
		return m.ReplaceFullPath, nil
	case m.Type == gatewayv1.PrefixMatchHTTPPathModifier && m.ReplacePrefixMatch != nil:
		path += ".replacePrefixMatch"
		if p := *m.ReplacePrefixMatch; p != "" && !strings.HasPrefix(p, "/") {
			b.unsupported(path, "%q does not start with a slash", p)
		}
		for i := range b.spec.Matches {
			if kind, _ := pathOf(&b.spec.Matches[i]); kind != gatewayv1.PathMatchPathPrefix {
				b.unsupported(path, "match %d has a path of type %s; only a PathPrefix can be replaced", i, kind)
			}
		}
		return nil, m.ReplacePrefixMatch
	}
	b.unsupported(path+".type", "a path modifier is of type ReplaceFullPath or ReplacePrefixMatch, with the field of that name")
	return nil, nil
}

// mirror maps a RequestMirror. One whose backend is invalid is left out and said (HTTPRequestMirrorFilter.backendRef).
func (b *ruleBuild) mirror(f *gatewayv1.HTTPRequestMirrorFilter, path string, forward *model.Forward) {
	share := int64(million)
	switch {
	case f.Percent != nil && f.Fraction != nil:
		b.unsupported(path, "percent and fraction exclude each other; remove one of them")
	case f.Percent != nil:
		share = int64(*f.Percent) * (million / 100)
	case f.Fraction != nil:
		of := int64(100)
		if f.Fraction.Denominator != nil {
			of = int64(*f.Fraction.Denominator)
		}
		if of <= 0 {
			b.unsupported(path+".fraction.denominator", "%d is no denominator; use 1 or more", of)
			return
		}
		share = int64(f.Fraction.Numerator) * million / of
	}
	if share < 0 || share > million {
		b.unsupported(path, "the share is not between none and all requests")
		return
	}
	if name, ok := b.cluster(&f.BackendRef, path+".backendRef"); ok && share > 0 {
		forward.Mirrors = append(forward.Mirrors, model.Mirror{Cluster: name, Millionths: uint32(share)})
	}
}
