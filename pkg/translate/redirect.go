package translate

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.io/fairlead/pkg/model"
)

var schemeName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*$`)

var redirectCodes = map[int]routev3.RedirectAction_RedirectResponseCode{
	0:   routev3.RedirectAction_FOUND, // Gateway API's default
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

// redirect answers by a Location. host is the only host that requests have, empty when there may be several.
func redirect(r *model.Redirect, path model.PathMatch, host string) (*routev3.RedirectAction, error) {
	code, ok := redirectCodes[r.Code]
	if !ok {
		return nil, fmt.Errorf("redirect code %d is none of 301, 302, 303, 307, 308", r.Code)
	}
	out := &routev3.RedirectAction{ResponseCode: code, HostRedirect: r.Host}
	if r.Scheme != "" {
		if !schemeName.MatchString(r.Scheme) {
			return nil, fmt.Errorf("%q is not a scheme", r.Scheme)
		}
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: strings.ToLower(r.Scheme)}
	}
	if r.Port > 65535 {
		return nil, fmt.Errorf("redirect port %d is above 65535", r.Port)
	}
	setRedirectPort(out, r, host)
	switch {
	case r.Path != nil:
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: rooted(*r.Path)}
	case r.Prefix != nil:
		prefix, expression := prefixRewrite(path, *r.Prefix)
		if expression != nil {
			out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: expression}
		} else if prefix != "" {
			out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: prefix}
		}
	}
	return out, nil
}

// setRedirectPort decides what stands behind the host. A given port is written unless it is the scheme's own. A new scheme
// without a port means that scheme's own port (Gateway API, HTTPRequestRedirectFilter.port). In all other cases Envoy keeps
// what the client wrote, or nothing behind a new host.
func setRedirectPort(out *routev3.RedirectAction, r *model.Redirect, host string) {
	port := r.Port
	if port == 0 && !r.KeepPort {
		port = ownPort(r.Scheme)
	}
	if port == 0 {
		return
	}
	own := ownPort(r.Scheme) == port || r.Scheme == "" && (port == 80 || port == 443)
	switch {
	case !own:
		out.PortRedirect = port
	case r.Host != "": // the new host has no port
	case host != "":
		out.HostRedirect = host
	default: // Envoy can only replace the client's port, not cut it off: ":443" behind https is long but right
		out.PortRedirect = port
	}
}

// ownPort is the port that a scheme implies, or 0.
func ownPort(scheme string) uint32 {
	switch strings.ToLower(scheme) {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}
