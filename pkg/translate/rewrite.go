package translate

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"fairlead.io/fairlead/pkg/model"
)

// setPathRewrite changes the path that the backend sees; the query stays.
func setPathRewrite(out *routev3.RouteAction, path model.PathMatch, r *model.PathRewrite) error {
	switch {
	case r.Full != nil:
		out.RegexRewrite = wholePath(*r.Full)
	case r.Prefix != nil:
		out.PrefixRewrite, out.RegexRewrite = prefixRewrite(path, *r.Prefix)
	case r.Regex != nil:
		if err := model.CheckRewrite(r.Regex.Pattern, r.Regex.Substitution); err != nil {
			return fmt.Errorf("path rewrite: %w", err)
		}
		out.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
			Pattern: &matcherv3.RegexMatcher{Regex: r.Regex.Pattern}, Substitution: r.Regex.Substitution,
		}
	}
	return nil
}

// prefixRewrite replaces the matched prefix, by Envoy's prefix rewrite or where that would join wrongly by an expression. Both
// are empty when nothing changes. Gateway API (HTTPPathModifier) lists the cases: /foo → / makes /foo/bar /bar, /foo → /xyz/
// makes it /xyz/bar; the result always begins with one "/". A match of the whole path is replaced as a whole.
func prefixRewrite(path model.PathMatch, by string) (string, *matcherv3.RegexMatchAndSubstitute) {
	switch path.Kind {
	case model.PathExact, model.PathRegex:
		return "", wholePath(by)
	case model.PathStringPrefix:
		// VirtualService replaces characters: /v1 → /v2 makes /v1beta /v2beta.
		if by = rooted(by); by == "/" && !strings.HasSuffix(path.Value, "/") {
			return "", cutPrefix(path, path.Value)
		}
		return by, nil
	}
	prefix := ""
	if path.Kind == model.PathPrefix {
		prefix = strings.TrimRight(path.Value, "/")
	}
	by = strings.TrimRight(rooted(by), "/")
	switch {
	case prefix == "" && by == "":
		return "", nil
	case prefix == "":
		return by + "/", nil
	case by == "":
		return "", cutPrefix(path, prefix)
	}
	return by, nil
}

// cutPrefix makes /prefix and /prefix/ "/", and /prefix/rest "/rest".
func cutPrefix(path model.PathMatch, prefix string) *matcherv3.RegexMatchAndSubstitute {
	pattern := "^" + regexp.QuoteMeta(prefix) + "/*"
	if path.IgnoreCase {
		pattern = "(?i)" + pattern
	}
	return &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: pattern}, Substitution: "/"}
}

// wholePath replaces the path whatever it is.
func wholePath(by string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{
		Pattern:      &matcherv3.RegexMatcher{Regex: "^.*$"},
		Substitution: strings.ReplaceAll(rooted(by), `\`, `\\`),
	}
}

// rooted makes a path absolute: Envoy would send a relative one as it is.
func rooted(path string) string {
	if !strings.HasPrefix(path, "/") {
		return "/" + path
	}
	return path
}
