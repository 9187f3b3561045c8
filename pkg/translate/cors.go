package translate

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

const corsFilter = "envoy.filters.http.cors"

// cors is the policy of one route. Envoy always answers with the request's own origin, and for a lone "*" with the
// methods and headers that the preflight asked for, so that wildcards hold with credentials too (Fetch, 3.3.5). It
// looks only at routes that forward.
func cors(c *model.CORS) (*corsv3.CorsPolicy, error) {
	out := &corsv3.CorsPolicy{
		AllowMethods:                 headerList(c.AllowMethods),
		AllowHeaders:                 headerList(c.AllowHeaders),
		ExposeHeaders:                headerList(c.ExposeHeaders),
		AllowCredentials:             wrapperspb.Bool(c.AllowCredentials),
		ForwardNotMatchingPreflights: wrapperspb.Bool(c.ForwardUnmatched),
	}
	if c.MaxAge != nil {
		out.MaxAge = strconv.FormatInt(int64(max(*c.MaxAge, 0)/time.Second), 10)
	}
	for _, o := range c.AllowOrigins {
		matcher, err := origin(o)
		if err != nil {
			return nil, err
		}
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, matcher)
	}
	return out, nil
}

// origin compares an Origin header. "*" in an exact one stands for anything ("https://*.example.com", "*").
func origin(m model.StringMatch) (*matcherv3.StringMatcher, error) {
	if m.Kind == model.MatchExact && strings.Contains(m.Value, "*") {
		m.Kind = model.MatchRegex
		m.Value = strings.ReplaceAll(regexp.QuoteMeta(m.Value), `\*`, ".*")
	}
	return stringMatcher(m)
}

// headerList joins names. "*" covers the others, and has its meaning only alone.
func headerList(names []string) string {
	if slices.Contains(names, "*") {
		return "*"
	}
	return strings.Join(names, ",")
}
