package resolve

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
)

// defaultAttempts is how often a request is retried when a rule asks for retries and not for how many.
const defaultAttempts = 2

// ruleBuild is one run over one rule.
type ruleBuild struct {
	*routeBuild
	spec *gatewayv1.HTTPRouteRule
	path string
	// action is what all matches of the rule share.
	action  model.Route
	invalid []model.Condition
}

// reject makes the rule invalid: its requests are answered by 500 rather than handled in a way that nobody asked for,
// which for a filter that guards something is the only safe one (HTTPRouteFilter.extensionRef: "MUST NOT be skipped").
func (b *ruleBuild) reject(reason gatewayv1.RouteConditionReason, path, format string, args ...any) {
	b.invalid = append(b.invalid, refuse(gatewayv1.RouteConditionAccepted, reason, path, fmt.Sprintf(format, args...)))
}

func (b *ruleBuild) unsupported(path, format string, args ...any) {
	b.reject(gatewayv1.RouteReasonUnsupportedValue, path, format, args...)
}

// rule resolves one rule into a route for each of its matches.
func (b *routeBuild) rule(spec *gatewayv1.HTTPRouteRule, i int) builtRule {
	rb := &ruleBuild{routeBuild: b, spec: spec, path: "spec.rules[" + strconv.Itoa(i) + "]"}
	rb.action.Origins = []model.Ref{b.rt.Ref}
	backends := rb.backends()
	f := &model.Forward{Upgrades: []string{"websocket"}}
	rb.filters(f, backends)
	rb.timeouts(f)
	if spec.SessionPersistence != nil {
		b.warn(rb.path+".sessionPersistence", "session persistence is not supported and has no effect; use a DestinationRule with consistentHash on a cookie or header")
	}
	rb.forward(f, backends)
	matches := spec.Matches
	if len(matches) == 0 {
		matches = []gatewayv1.HTTPRouteMatch{{}}
	}
	out := builtRule{}
	for j := range matches {
		m, ok := rb.match(&matches[j], rb.path+".matches["+strconv.Itoa(j)+"]")
		if !ok {
			continue // a condition that cannot be evaluated cannot be answered either
		}
		rt := rb.action
		rt.Name = rb.name(i, j)
		rt.Match = m
		out.routes, out.ranks = append(out.routes, rt), append(out.ranks, rankOf(&matches[j], i, j))
	}
	if broken(&b.rt.Meta) {
		// Which requests the missing part was to guard is not known.
		rb.unsupported("", "a part of the object cannot be read; %s", unreadable(&b.rt.Meta))
	}
	if out.invalid = rb.invalid; len(out.invalid) > 0 {
		for j := range out.routes {
			rt := &out.routes[j]
			*rt = model.Route{Name: rt.Name, Match: rt.Match, Origins: rt.Origins, Direct: &model.DirectResponse{Status: 500}}
		}
	}
	out.preflights()
	return out
}

// preflights adds the routes for CORS preflights. Each ranks as the match that it belongs to.
func (b *builtRule) preflights() {
	for i := range b.routes {
		if p, ok := preflight(&b.routes[i]); ok {
			b.routes, b.ranks = append(b.routes, p), append(b.ranks, b.ranks[i])
		}
	}
}

func (b *ruleBuild) name(rule, match int) string {
	n := b.rt.String() + " rule " + strconv.Itoa(rule)
	if b.spec.Name != nil && *b.spec.Name != "" {
		n += " (" + string(*b.spec.Name) + ")"
	}
	return n + " match " + strconv.Itoa(match)
}

// forward completes the action: to backends, unless a filter answers itself.
func (b *ruleBuild) forward(f *model.Forward, backends []model.Backend) {
	if b.action.Redirect != nil {
		if b.redirects() && len(b.spec.BackendRefs) > 0 {
			b.reject(gatewayv1.RouteReasonIncompatibleFilters, b.path+".backendRefs", "a rule that redirects has no backends; remove one of them")
		}
		return
	}
	for _, t := range backends {
		if t.Weight > 0 {
			f.Backends = append(f.Backends, t)
		}
	}
	if len(f.Backends) == 0 {
		b.action.Direct = &model.DirectResponse{Status: 500}
		return
	}
	b.action.Forward = f
}

// redirects tells whether the rule itself, not its backend, has a redirect.
func (b *ruleBuild) redirects() bool {
	return slices.ContainsFunc(b.spec.Filters, func(f gatewayv1.HTTPRouteFilter) bool { return f.RequestRedirect != nil })
}

// timeouts applies timeouts and retries. Without retries the one request to a backend is bounded by both timeouts.
func (b *ruleBuild) timeouts(f *model.Forward) {
	var try *time.Duration
	if t := b.spec.Timeouts; t != nil {
		f.Timeout = b.duration(t.Request, b.path+".timeouts.request")
		try = b.duration(t.BackendRequest, b.path+".timeouts.backendRequest")
		if f.Timeout != nil && try != nil && *f.Timeout > 0 && *try > *f.Timeout {
			b.unsupported(b.path+".timeouts.backendRequest", "%s is longer than the whole request's %s", *try, *f.Timeout)
		}
	}
	if b.spec.Retry != nil {
		f.Retry = b.retry(b.spec.Retry, b.path+".retry")
		if try != nil && *try > 0 {
			f.Retry.PerTryTimeout = try
		}
		return
	}
	if try != nil && (*try > 0 || f.Timeout == nil) {
		f.Timeout = try
	}
}

// retry maps a retry stanza: connections that fail are retried whatever the codes say.
func (b *ruleBuild) retry(spec *gatewayv1.HTTPRouteRetry, path string) *model.Retry {
	r := &model.Retry{Attempts: defaultAttempts, On: "connect-failure,refused-stream,reset"}
	if spec.Attempts != nil {
		if *spec.Attempts < 1 {
			b.unsupported(path+".attempts", "%d is no number of attempts; use 1 or more, or remove retry", *spec.Attempts)
			return r
		}
		r.Attempts = uint32(*spec.Attempts)
	}
	for i, c := range spec.Codes {
		if c < 400 || c > 599 {
			b.unsupported(path+".codes["+strconv.Itoa(i)+"]", "%d cannot be retried; use codes from 400 to 599", c)
			continue
		}
		r.StatusCodes = append(r.StatusCodes, uint32(c))
	}
	if len(r.StatusCodes) > 0 {
		r.On += ",retriable-status-codes"
	}
	if d := b.duration(spec.Backoff, path+".backoff"); d != nil {
		r.BackoffBase = *d
	}
	return r
}

// duration parses a Gateway API duration (GEP-2257).
func (b *ruleBuild) duration(d *gatewayv1.Duration, path string) *time.Duration {
	if d == nil {
		return nil
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil || v < 0 || strings.ContainsAny(string(*d), "-+.uµn") {
		b.unsupported(path, "%q is no duration; write it like 10s, 1m30s or 500ms", *d)
		return nil
	}
	return &v
}
