package translate

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.io/fairlead/pkg/model"
)

// VirtualHost is envoy.config.route.v3.VirtualHost. Its name is "<config>/<host>", its routes keep their order; routes whose
// match cannot be expressed are left out (see CheckRoute). A host without domains takes every :authority.
func VirtualHost(v *model.VirtualHost) *routev3.VirtualHost {
	out := &routev3.VirtualHost{
		Name:    v.Config + "/" + v.Host,
		Domains: domains(v.Domains),
		Routes:  make([]*routev3.Route, 0, len(v.Routes)),
	}
	if len(v.Domains) == 0 {
		out.Domains = []string{"*"}
	}
	if v.RequireTLS {
		out.RequireTls = routev3.VirtualHost_ALL
	}
	host := onlyHost(v)
	for i := range v.Routes {
		if r, _ := route(&v.Routes[i], host); r != nil {
			out.Routes = append(out.Routes, r)
		}
	}
	return out
}

// domains drops what Envoy refuses: the empty domain, and one that is there twice, in whatever case.
func domains(in []string) []string {
	out := make([]string, 0, len(in))
	seen := make(map[string]bool, len(in))
	for _, d := range in {
		d = strings.ToLower(d)
		if d == "" || seen[d] || !printable(d) {
			continue
		}
		seen[d] = true
		out = append(out, d)
	}
	return out
}

// onlyHost is the one host name that requests of v can have, or empty when there are several.
func onlyHost(v *model.VirtualHost) string {
	if len(v.Domains) != 1 || strings.ContainsAny(v.Domains[0], "*:[") {
		return ""
	}
	return v.Domains[0]
}
