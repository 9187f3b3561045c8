package status

import (
	"encoding/json"
	"reflect"
	"strings"
)

// differs tells whether an object's status must be written to become want: something of want is missing or other, or
// something that is ours is no longer wanted. What others wrote beside it does not count.
func differs(kind shape, want map[string]any, have *seen, controller string) bool {
	if kind == routeShape {
		ours, others := have.parents(controller)
		list, _ := want["parents"].([]any)
		return !equal(list[len(others):], ours)
	}
	return lacks(want, have.status) || left(have.fields(), want, have.status)
}

// lacks tells whether have is without a part of want. Lists are compared as a whole, except those that have keys.
func lacks(want, have any) bool {
	m, ok := want.(map[string]any)
	if !ok {
		return !equal(want, have)
	}
	h, ok := have.(map[string]any)
	if !ok {
		return true
	}
	for name, w := range m {
		key := listKey(name)
		list, isList := w.([]any)
		if !isList || key == "" {
			if lacks(w, h[name]) {
				return true
			}
			continue
		}
		old, _ := h[name].([]any)
		for _, e := range list {
			one, ok := item(old, key, e.(map[string]any)[key])
			if !ok || lacks(e, one) {
				return true
			}
		}
	}
	return false
}

// left tells whether a field that is ours is there and not wanted. owned is a tree of FieldsV1.
func left(owned map[string]any, want, have any) bool {
	for name, below := range owned {
		tree, _ := below.(map[string]any)
		var w, h any
		switch {
		case strings.HasPrefix(name, "f:"):
			field := name[2:]
			wm, _ := want.(map[string]any)
			hm, _ := have.(map[string]any)
			w, h = wm[field], hm[field]
			if w == nil {
				return true
			}
			list, isList := w.([]any)
			if old, ok := h.([]any); isList && ok && len(tree) == 0 && len(list) != len(old) {
				return true // owned as a whole: a definition without list keys
			}
		case strings.HasPrefix(name, "k:"):
			var keys map[string]any
			if json.Unmarshal([]byte(name[2:]), &keys) != nil {
				continue
			}
			wl, _ := want.([]any)
			hl, _ := have.([]any)
			for key, value := range keys {
				one, ok := item(wl, key, value)
				if !ok {
					return true
				}
				old, _ := item(hl, key, value)
				w, h = one, old
			}
		default:
			continue
		}
		if left(tree, w, h) {
			return true
		}
	}
	return false
}

// listKey is the field that tells the entries of a list apart, or empty for a list that is one value.
func listKey(list string) string {
	switch list {
	case "conditions":
		return "type"
	case "listeners":
		return "name"
	}
	return ""
}

func item(list []any, key string, value any) (map[string]any, bool) {
	for _, e := range list {
		if m, ok := e.(map[string]any); ok && m[key] == value {
			return m, true
		}
	}
	return nil, false
}

// equal compares JSON values; a list or map that is nil equals an empty one.
func equal(a, b any) bool {
	if a == nil {
		a, b = b, a
	}
	switch x := a.(type) {
	case []any:
		y, ok := b.([]any)
		if !ok && b != nil || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equal(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok && b != nil || len(x) != len(y) {
			return false
		}
		for k := range x {
			other, ok := y[k]
			if !ok || !equal(x[k], other) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}
