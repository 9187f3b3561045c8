package translate

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"fairlead.io/fairlead/pkg/model"
)

// matchSource limits a route to some clients, by what their stub listener says (labelString gives the form of labels). Every matcher must hold; a client without filter state matches none.
func matchSource(out *routev3.RouteMatch, s *model.SourceMatch) {
	if s == nil {
		return
	}
	if len(s.Namespaces) > 0 {
		namespaces := slices.Sorted(slices.Values(s.Namespaces))
		for i, n := range namespaces {
			namespaces[i] = regexp.QuoteMeta(n)
		}
		out.FilterState = append(out.FilterState, stateMatcher(model.SourceNamespaceKey, strings.Join(namespaces, "|")))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		// The expression takes the whole value, so that app=web does not match app=webby.
		pair := regexp.QuoteMeta(k + "=" + s.Labels[k])
		out.FilterState = append(out.FilterState, stateMatcher(model.SourceLabelsKey, "(.*,)?"+pair+"(,.*)?"))
	}
}

func stateMatcher(key, expression string) *matcherv3.FilterStateMatcher {
	return &matcherv3.FilterStateMatcher{
		Key: key,
		Matcher: &matcherv3.FilterStateMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: expression}},
		}},
	}
}
