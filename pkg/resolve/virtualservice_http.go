package resolve

import (
	"slices"
	"strconv"
	"time"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// httpRule is one rule of spec.http, converted once and bound to each gateway, and to the mesh, after that.
type httpRule struct {
	terms []matchTerm
	name  string
	// proto is the route without its match; the clusters of its Forward come from backends and mirrors.
	proto             model.Route
	backends, mirrors []target
	// uri is rewrite.uri: what it replaces depends on the match.
	uri *string
	// requestPort asks a redirect to keep the port that the request came in on; redirectPath is where it stands.
	requestPort  bool
	redirectPath string
}

// rules converts spec.http. Rules after one that takes everything are never reached, and named.
func (v *vsRun) rules() []httpRule {
	var out []httpRule
	for i := range v.vs.Spec.HTTP {
		rt, path := &v.vs.Spec.HTTP[i], "spec.http["+strconv.Itoa(i)+"]"
		if rt.Delegate != nil {
			out = append(out, v.delegated(rt, path)...)
			continue
		}
		out = append(out, v.rule(rt, path))
		if len(rt.Match) == 0 && i+1 < len(v.vs.Spec.HTTP) {
			v.warn(reasonConflict, "spec.http["+strconv.Itoa(i+1)+"]", "the rule is never reached: %s before it has no match and takes every request; move it before", path)
			break
		}
	}
	return out
}

// rule converts one rule that is no delegation.
func (v *vsRun) rule(rt *v1alpha1.HTTPRoute, path string) httpRule {
	u := httpRule{terms: v.terms(rt.Match, path), name: rt.Name}
	v.settings(rt, path, &u)
	v.action(rt, path, &u)
	return u
}

// settings converts what every kind of action may carry.
func (v *vsRun) settings(rt *v1alpha1.HTTPRoute, path string, u *httpRule) {
	u.proto.Origins = []model.Ref{v.vs.Ref}
	var authority string
	u.proto.RequestHeaders, u.proto.ResponseHeaders, authority = v.headers(rt.Headers, path+".headers")
	u.proto.CORS = v.cors(rt.CORSPolicy, path+".corsPolicy")
	u.proto.Fault = v.fault(rt.Fault, path+".fault")
	u.proto.Forward = &model.Forward{
		HostRewrite: authority, Upgrades: []string{"websocket"},
		Timeout: v.duration(rt.Timeout, path+".timeout"), Retry: v.retry(rt.Retries, path+".retries"),
	}
	if !v.rewrite(rt.Rewrite, path+".rewrite", u) {
		v.answer500(u)
	}
	v.mirror(rt, path, u)
}

// answer500 makes a rule answer 500: what it should do with its requests cannot be done, and they are not for other rules.
func (v *vsRun) answer500(u *httpRule) {
	u.proto.Forward, u.proto.Redirect = nil, nil
	u.backends, u.mirrors, u.uri = nil, nil, nil
	u.proto.Direct = &model.DirectResponse{Status: 500}
}

func (v *vsRun) action(rt *v1alpha1.HTTPRoute, path string, u *httpRule) {
	n := 0
	for _, set := range []bool{len(rt.Route) > 0, rt.Redirect != nil, rt.DirectResponse != nil} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		v.refuse(reasonInvalid, path, "exactly one of route, redirect, directResponse and delegate must be set; the rule answers 500")
		v.answer500(u)
	case u.proto.Direct != nil: // broken before
	case rt.Redirect != nil:
		u.proto.Forward, u.mirrors = nil, nil
		u.redirectPath = path + ".redirect"
		u.proto.Redirect = v.redirect(rt.Redirect, u.redirectPath, u)
		v.needsRoute(rt, path)
	case rt.DirectResponse != nil:
		u.proto.Forward, u.mirrors = nil, nil
		u.proto.Direct = v.direct(rt.DirectResponse, path+".directResponse")
		v.needsRoute(rt, path)
	default:
		v.route(rt, path, u)
	}
}

// needsRoute names the fields that have no effect beside a redirect or direct response.
func (v *vsRun) needsRoute(rt *v1alpha1.HTTPRoute, path string) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"rewrite", rt.Rewrite != nil},
		{"timeout", rt.Timeout != ""},
		{"retries", rt.Retries != nil},
		{"mirror", rt.Mirror != nil},
		{"mirrors", len(rt.Mirrors) > 0},
	} {
		if f.set {
			v.warn(reasonInvalid, path+"."+f.name, "%s has no effect on a rule that answers itself; remove it", f.name)
		}
	}
}

// route converts the weighted destinations. The weight of a single one does not count; among several, one without
// weight gets nothing, as in Istio.
func (v *vsRun) route(rt *v1alpha1.HTTPRoute, path string, u *httpRule) {
	var sum uint64
	for i := range rt.Route {
		d, p := &rt.Route[i], path+".route["+strconv.Itoa(i)+"]"
		b := model.Backend{Weight: v.weight(d.Weight, len(rt.Route), p)}
		sum += uint64(b.Weight)
		b.RequestHeaders, b.ResponseHeaders, b.HostRewrite = v.headers(d.Headers, p+".headers")
		u.backends = append(u.backends, v.target(&d.Destination, p+".destination"))
		u.proto.Forward.Backends = append(u.proto.Forward.Backends, b)
	}
	if sum == 0 {
		v.refuse(reasonInvalid, path+".route", "the weights sum to zero, so no destination gets a request; the rule answers 500: give at least one a weight")
		v.answer500(u)
		return
	}
	if sum > 1<<32-1 {
		v.refuse(reasonInvalid, path+".route", "the weights sum to %d, at most 4294967295 is possible; the rule answers 500: use smaller numbers", sum)
		v.answer500(u)
	}
}

func (v *vsRun) weight(w *int32, of int, path string) uint32 {
	switch {
	case of == 1:
		return 1
	case w == nil:
		v.warn(reasonInvalid, path+".weight", "a destination without weight beside others gets no requests; give it a weight")
		return 0
	case *w < 0:
		v.refuse(reasonInvalid, path+".weight", "%d is negative; use 0 or more", *w)
		return 0
	}
	return uint32(*w)
}

// mirror converts mirror and mirrors.
func (v *vsRun) mirror(rt *v1alpha1.HTTPRoute, path string, u *httpRule) {
	if u.proto.Forward == nil {
		return
	}
	add := func(d *v1alpha1.Destination, share *v1alpha1.Percent, path string) {
		n := uint32(1_000_000)
		if share != nil {
			n = v.millionths(share.Value, path)
		}
		u.mirrors = append(u.mirrors, v.target(d, path))
		u.proto.Forward.Mirrors = append(u.proto.Forward.Mirrors, model.Mirror{Millionths: n})
	}
	if rt.Mirror != nil {
		share := rt.MirrorPercentage
		if share == nil && rt.MirrorPercent != nil {
			share = &v1alpha1.Percent{Value: float64(*rt.MirrorPercent)}
		}
		add(rt.Mirror, share, path+".mirror")
	} else if rt.MirrorPercentage != nil || rt.MirrorPercent != nil {
		v.warn(reasonInvalid, path+".mirrorPercentage", "mirrorPercentage has no effect without mirror; entries of mirrors have a percentage of their own")
	}
	for i := range rt.Mirrors {
		add(&rt.Mirrors[i].Destination, rt.Mirrors[i].Percentage, path+".mirrors["+strconv.Itoa(i)+"].destination")
	}
}

// follows tells whether a destination of the rule takes the port that the request came in on.
func (u *httpRule) follows() bool {
	open := func(t target) bool { return t.host != nil && t.id.Port == 0 }
	return slices.ContainsFunc(u.backends, open) || slices.ContainsFunc(u.mirrors, open)
}

// duration reads an optional duration; a malformed one is left out with a condition.
func (v *vsRun) duration(d v1alpha1.Duration, path string) *time.Duration {
	if d == "" {
		return nil
	}
	t, err := d.Parse()
	if err != nil {
		v.refuse(reasonInvalid, path, "%s", err)
		return nil
	}
	return &t
}

// millionths converts a percentage.
func (v *vsRun) millionths(percent float64, path string) uint32 {
	if !(percent >= 0 && percent <= 100) {
		v.refuse(reasonInvalid, path+".percentage", "%v is no percentage; use 0 to 100", percent)
		return 0
	}
	return uint32(percent*10_000 + 0.5)
}
