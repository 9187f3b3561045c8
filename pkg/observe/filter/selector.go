package filter

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/observe/flow"
)

// Selector is a label selector of Kubernetes whose keys may say where a label comes from: "k8s:app=web", or "app=web" for any.
type Selector []requirement

type requirement struct {
	source string // empty is any
	labels.Requirement
}

// maxSelector bounds a selector, in bytes.
const maxSelector = 16 << 10

// ParseSelector reads a selector.
func ParseSelector(s string) (Selector, error) {
	if strings.TrimSpace(s) == "" {
		return nil, fmt.Errorf("the selector is empty; write for example app=web")
	}
	if len(s) > maxSelector {
		return nil, fmt.Errorf("the selector has more than %d bytes", maxSelector)
	}
	var out Selector
	for _, part := range split(s) {
		source, plain := cutSource(part)
		list, err := labels.ParseToRequirements(plain)
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("there is nothing between two commas")
		}
		if err != nil {
			return nil, fmt.Errorf("%.200q is no label selector; write for example app=web: %w", s, err)
		}
		out = append(out, requirement{source, list[0]})
	}
	return out, nil
}

// split cuts a selector at the commas that are in no parentheses.
func split(s string) (parts []string) {
	depth, start := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				parts, start = append(parts, s[start:i]), i+1
			}
		}
	}
	return append(parts, s[start:])
}

// cutSource takes the source from the key of one requirement.
func cutSource(part string) (source, plain string) {
	before := strings.TrimLeft(part, " \t!")
	key := before
	if i := strings.IndexAny(before, " \t=!<>"); i >= 0 {
		key = before[:i]
	}
	source, _, ok := strings.Cut(key, ":")
	if !ok {
		return "", part
	}
	plain = part[:len(part)-len(before)] + before[len(source)+1:]
	if source == "any" {
		source = ""
	}
	return source, plain
}

// Match tells whether labels, "source:key=value" or "key=value" each, are selected.
func (s Selector) Match(list []string) bool {
	return !slices.ContainsFunc(s, func(r requirement) bool { return !r.Matches(sourced{list, r.source}) })
}

// sourced are the labels of a source as those that a requirement reads.
type sourced struct {
	list   []string
	source string
}

// Has implements labels.Labels.
func (s sourced) Has(key string) bool { _, ok := s.Lookup(key); return ok }

// Get implements labels.Labels.
func (s sourced) Get(key string) string { v, _ := s.Lookup(key); return v }

// Lookup implements labels.Labels.
func (s sourced) Lookup(key string) (string, bool) {
	for _, l := range s.list {
		name, value, _ := strings.Cut(l, "=")
		source, plain, ok := strings.Cut(name, ":")
		if !ok {
			source, plain = "", name
		}
		if plain == key && (s.source == "" || s.source == source) {
			return value, true
		}
	}
	return "", false
}

// selectors tests labels by selectors, one of which must hold.
func selectors(list []string, of func(*flow.Flow) []string) (test, error) {
	var want []Selector
	for _, x := range list {
		s, err := ParseSelector(x)
		if err != nil {
			return nil, err
		}
		want = append(want, s)
	}
	return func(f *flow.Flow) bool {
		l := of(f)
		return slices.ContainsFunc(want, func(s Selector) bool { return s.Match(l) })
	}, nil
}
