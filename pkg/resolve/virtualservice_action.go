package resolve

import (
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// redirect converts a redirect. What it does not name stays as in the request.
func (v *vsRun) redirect(d *v1alpha1.HTTPRedirect, path string, u *httpRule) *model.Redirect {
	out := &model.Redirect{Host: d.Authority, Scheme: d.Scheme, Code: int(d.RedirectCode), KeepPort: true}
	if d.URI != "" {
		out.Path = &d.URI
	}
	if d.PrefixRewrite != "" {
		if d.URI != "" {
			v.refuse(reasonInvalid, path+".prefixRewrite", "uri and prefixRewrite exclude each other; uri is used")
		} else {
			out.Prefix = &d.PrefixRewrite
		}
	}
	switch d.Scheme {
	case "", "http", "https":
	default:
		v.refuse(reasonInvalid, path+".scheme", `%q is no scheme that a redirect may have; use "http" or "https"`, d.Scheme)
		out.Scheme = ""
	}
	if out.Code == 0 {
		out.Code = 301
	}
	switch out.Code {
	case 301, 302, 303, 307, 308:
	default:
		v.refuse(reasonInvalid, path+".redirectCode", "%d is no redirect; use 301, 302, 303, 307 or 308; 301 is used", out.Code)
		out.Code = 301
	}
	switch {
	case d.Port != nil && (*d.Port < 1 || *d.Port > 65535):
		v.refuse(reasonInvalid, path+".port", "%d is no port; use 1 to 65535", *d.Port)
	case d.Port != nil:
		out.Port = uint32(*d.Port)
	case d.DerivePort == v1alpha1.RedirectPortProtocolDefault:
		out.KeepPort = false
	case d.DerivePort == v1alpha1.RedirectPortRequest:
		u.requestPort = true
	case d.DerivePort != "":
		v.refuse(reasonInvalid, path+".derivePort", "%q is not known; use FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT", d.DerivePort)
	}
	return out
}

func (v *vsRun) direct(d *v1alpha1.HTTPDirectResponse, path string) *model.DirectResponse {
	out := &model.DirectResponse{Status: int(d.Status)}
	if d.Status < 200 || d.Status > 599 {
		v.refuse(reasonInvalid, path+".status", "%d is no status that Envoy can answer; use 200 to 599; 500 is used", d.Status)
		out.Status = 500
	}
	switch {
	case d.Body == nil:
	case d.Body.String != nil:
		out.Body = []byte(*d.Body.String)
	default:
		out.Body = d.Body.Bytes
	}
	if len(out.Body) > maxDirectBody {
		v.refuse(reasonInvalid, path+".body", "the body has %d bytes, at most %d are possible; it is left out: serve it from a backend", len(out.Body), maxDirectBody)
		out.Body = nil
	}
	return out
}

// maxDirectBody is what the route tables allow (RouteConfiguration.max_direct_response_body_size_bytes), in bytes.
const maxDirectBody = 1 << 20

// rewrite converts a rewrite; false means that it cannot be done.
func (v *vsRun) rewrite(w *v1alpha1.HTTPRewrite, path string, u *httpRule) bool {
	if w == nil {
		return true
	}
	if w.Authority != "" {
		u.proto.Forward.HostRewrite = w.Authority
	}
	if x := w.URIRegexRewrite; x != nil {
		if w.URI != "" {
			v.refuse(reasonInvalid, path+".uri", "uri and uriRegexRewrite exclude each other; uriRegexRewrite is used")
		}
		if err := model.CheckRewrite(x.Match, x.Rewrite); err != nil {
			v.refuse(reasonInvalid, path+".uriRegexRewrite", "%s; the rule answers 500", err)
			return false
		}
		u.proto.Forward.PathRewrite = &model.PathRewrite{Regex: &model.RegexRewrite{Pattern: x.Match, Substitution: x.Rewrite}}
		return true
	}
	if w.URI != "" {
		u.uri = &w.URI
	}
	return true
}

// pathRewrite says what rewrite.uri replaces: the prefix that a prefix match covers (that of "/" without a match), else
// the whole path.
func pathRewrite(uri string, m model.PathMatch) *model.PathRewrite {
	switch m.Kind {
	case model.PathExact, model.PathRegex:
		return &model.PathRewrite{Full: &uri}
	}
	return &model.PathRewrite{Prefix: &uri}
}

// fault converts fault injection.
func (v *vsRun) fault(f *v1alpha1.HTTPFaultInjection, path string) *model.Fault {
	if f == nil {
		return nil
	}
	out := &model.Fault{}
	if d := f.Delay; d != nil {
		v.faultDelay(d, path+".delay", out)
	}
	if a := f.Abort; a != nil {
		v.faultAbort(a, path+".abort", out)
	}
	if out.DelayMillionths == 0 && out.AbortMillionths == 0 {
		return nil
	}
	return out
}

func (v *vsRun) faultDelay(d *v1alpha1.FaultDelay, path string, out *model.Fault) {
	if d.ExponentialDelay != "" {
		v.unsupported(path+".exponentialDelay", "use fixedDelay")
	}
	t := v.duration(d.FixedDelay, path+".fixedDelay")
	if t == nil {
		return
	}
	if *t <= 0 {
		v.refuse(reasonInvalid, path+".fixedDelay", "a delay must be longer than zero; it is left out")
		return
	}
	out.Delay = *t
	switch {
	case d.Percentage != nil:
		out.DelayMillionths = v.millionths(d.Percentage.Value, path)
	case d.Percent != nil:
		out.DelayMillionths = v.millionths(float64(*d.Percent), path)
	default:
		v.warn(reasonInvalid, path+".percentage", "no request is delayed without a percentage; set one")
	}
}

func (v *vsRun) faultAbort(a *v1alpha1.FaultAbort, path string, out *model.Fault) {
	if a.HTTP2Error != "" {
		v.unsupported(path+".http2Error", "use httpStatus or grpcStatus")
	}
	switch {
	case a.HTTPStatus != nil && (*a.HTTPStatus < 200 || *a.HTTPStatus > 599):
		v.refuse(reasonInvalid, path+".httpStatus", "%d is no status that Envoy can answer; use 200 to 599", *a.HTTPStatus)
		return
	case a.HTTPStatus != nil:
		out.AbortHTTP = uint32(*a.HTTPStatus)
	case a.GRPCStatus != "":
		n, ok := grpcStatus(a.GRPCStatus)
		if !ok {
			v.refuse(reasonInvalid, path+".grpcStatus", `%q is no gRPC status; use a name such as "UNAVAILABLE" or 0 to 16`, a.GRPCStatus)
			return
		}
		out.AbortGRPC = &n
	default:
		return
	}
	if a.Percentage == nil {
		v.warn(reasonInvalid, path+".percentage", "no request is aborted without a percentage; set one")
		return
	}
	out.AbortMillionths = v.millionths(a.Percentage.Value, path)
}

// grpcCodes are the names of the gRPC status codes, by number.
const grpcCodes = "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED " +
	"RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"

// grpcStatus reads a status by name or number.
func grpcStatus(s string) (uint32, bool) {
	names := strings.Fields(grpcCodes)
	for i, n := range names {
		if strings.EqualFold(n, s) {
			return uint32(i), true
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint32(n), err == nil && int(n) < len(names)
}

// cors converts a CORS policy. A match of an origin that cannot be evaluated allows nothing.
func (v *vsRun) cors(c *v1alpha1.CORSPolicy, path string) *model.CORS {
	if c == nil {
		return nil
	}
	out := &model.CORS{
		AllowMethods: c.AllowMethods, AllowHeaders: c.AllowHeaders, ExposeHeaders: c.ExposeHeaders,
		MaxAge: v.duration(c.MaxAge, path+".maxAge"), AllowCredentials: c.AllowCredentials != nil && *c.AllowCredentials,
		ForwardUnmatched: c.UnmatchedPreflights != v1alpha1.UnmatchedPreflightsIgnore,
	}
	switch c.UnmatchedPreflights {
	case "", v1alpha1.UnmatchedPreflightsUnspecified, v1alpha1.UnmatchedPreflightsForward, v1alpha1.UnmatchedPreflightsIgnore:
	default:
		v.refuse(reasonInvalid, path+".unmatchedPreflights", "%q is not known; use FORWARD or IGNORE; FORWARD is used", c.UnmatchedPreflights)
	}
	for i, o := range c.AllowOrigins {
		if m, ok := v.stringMatch(o, path+".allowOrigins["+strconv.Itoa(i)+"]", false); ok {
			out.AllowOrigins = append(out.AllowOrigins, m)
		}
	}
	for _, o := range c.AllowOrigin {
		if len(c.AllowOrigins) > 0 {
			v.warn(reasonInvalid, path+".allowOrigin", "allowOrigin is the older form of allowOrigins and is ignored beside it; remove it")
			break
		}
		out.AllowOrigins = append(out.AllowOrigins, model.StringMatch{Kind: model.MatchExact, Value: o})
	}
	return out
}
