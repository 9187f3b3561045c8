package policy

import (
	"slices"
	"strings"
)

// met tells whether the names of a pod meet the condition.
func (q *NameRequirement) met(id *Identity) bool {
	name := id.Namespace
	if q.Of == OfPrincipal {
		name = "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount
		if id.ServiceAccount == "" {
			return q.Not
		}
	}
	return slices.ContainsFunc(q.Patterns, func(p string) bool { return glob(p, name) }) != q.Not
}

// glob tells whether a pattern matches a whole text; "*" stands for any text, also none.
func glob(pattern, text string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, head)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(part):], after
	}
}
