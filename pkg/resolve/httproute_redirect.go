package resolve

import (
	"regexp"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
)

// redirect maps a RequestRedirect; the port is completed where the route attaches, by redirectFrom.
func (b *ruleBuild) redirect(f *gatewayv1.HTTPRequestRedirectFilter, path string) *model.Redirect {
	r := &model.Redirect{Code: 302}
	if f.Scheme != nil {
		if r.Scheme = strings.ToLower(*f.Scheme); r.Scheme != "http" && r.Scheme != "https" {
			b.unsupported(path+".scheme", "%q is not supported; use http or https", *f.Scheme)
		}
	}
	if f.Hostname != nil {
		r.Host = string(*f.Hostname)
	}
	if f.Port != nil {
		if r.Port = uint32(*f.Port); *f.Port < 1 || *f.Port > 65535 {
			b.unsupported(path+".port", "%d is no port; use 1 to 65535", *f.Port)
		}
	}
	if f.StatusCode != nil {
		if r.Code = *f.StatusCode; !slices.Contains([]int{301, 302, 303, 307, 308}, r.Code) {
			b.unsupported(path+".statusCode", "%d is no redirect; use 301, 302, 303, 307 or 308", r.Code)
		}
	}
	if f.Path != nil {
		r.Path, r.Prefix = b.modify(f.Path, path+".path")
	}
	return r
}

// redirectFrom completes a redirect for the listener that it is answered on (HTTPRequestRedirectFilter.port): without a
// port it is the scheme's own, or the listener's when the scheme stays; the scheme's own is not written out. listener is
// nil in the mesh, where the client's port stays.
func redirectFrom(rt *model.Route, listener *gatewayListener) {
	if rt.Redirect == nil {
		return
	}
	r := *rt.Redirect
	scheme := r.Scheme
	if scheme == "" && listener != nil {
		scheme = "http"
		if listener.tls {
			scheme = "https"
		}
	}
	switch {
	case r.Port != 0 || r.Scheme != "":
	case listener != nil:
		r.Port = uint32(listener.port)
	default:
		r.KeepPort, r.RequestPort = true, r.Host != ""
	}
	if (scheme == "http" && r.Port == 80) || (scheme == "https" && r.Port == 443) {
		r.Port = 0
	}
	if r.Port == 80 || r.Port == 443 {
		r.Scheme = scheme // it is the other scheme's port: without the scheme it would look like this one's own
	}
	rt.Redirect = &r
}

// onPort completes a redirect for requests that come in on a port of a mesh host, in plaintext: Envoy keeps their port only
// behind their own host.
func onPort(rt model.Route, port uint16) model.Route {
	if rt.Redirect == nil || !rt.Redirect.RequestPort || rt.Redirect.Port != 0 {
		return rt
	}
	r := *rt.Redirect
	if r.Scheme == "" {
		r.Scheme = "http" // the port may be another scheme's own
	}
	r.Port = uint32(port)
	rt.Redirect = &r
	return rt
}

// corsMaxAge is how long a preflight's answer is kept when the filter does not say (HTTPCORSFilter.maxAge).
const corsMaxAge = 5 * time.Second

// cors maps a CORS filter. A "*" within an origin stands for any characters, dots included.
func cors(f *gatewayv1.HTTPCORSFilter) *model.CORS {
	c := &model.CORS{AllowCredentials: f.AllowCredentials != nil && *f.AllowCredentials}
	for _, o := range f.AllowOrigins {
		m := model.StringMatch{Kind: model.MatchExact, Value: string(o)}
		switch {
		case o == "*":
			m = model.StringMatch{Kind: model.MatchPrefix}
		case strings.Contains(string(o), "*"):
			m = model.StringMatch{Kind: model.MatchRegex, Value: strings.ReplaceAll(regexp.QuoteMeta(string(o)), `\*`, ".*")}
		}
		c.AllowOrigins = append(c.AllowOrigins, m)
	}
	for _, m := range f.AllowMethods {
		c.AllowMethods = append(c.AllowMethods, string(m))
	}
	for _, h := range f.AllowHeaders {
		c.AllowHeaders = append(c.AllowHeaders, string(h))
	}
	for _, h := range f.ExposeHeaders {
		c.ExposeHeaders = append(c.ExposeHeaders, string(h))
	}
	age := corsMaxAge
	if f.MaxAge > 0 {
		age = time.Duration(f.MaxAge) * time.Second
	}
	c.MaxAge = &age
	return c
}
