package convert

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Bounds on one document. Aliases are expanded, so a few lines could become gigabytes; manifests come nowhere near.
const (
	maxDepth      = 200
	maxAliasNodes = 100_000
	maxAliasBytes = 10 << 20
)

// docError is a fault in a document, at a line of its file.
type docError struct {
	line int
	msg  string
}

func (e *docError) Error() string { return "line " + strconv.Itoa(e.line) + ": " + e.msg }

// tree turns a node tree into the values that a JSON decoder gives (map[string]any, []any, string, int64, float64, bool,
// nil) and notes the line of each field.
type tree struct {
	offset int // added to every line of the nodes
	lines  map[string]int

	aliases           int // how many aliases we are inside
	aliasNodes, bytes int
}

// value converts a node. path is its place in the object that it belongs to.
func (t *tree) value(n *yaml.Node, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, t.errorf(n, "is nested deeper than %d levels", maxDepth)
	}
	if t.aliases > 0 {
		t.aliasNodes++
		t.bytes += len(n.Value)
		if t.aliasNodes > maxAliasNodes || t.bytes > maxAliasBytes {
			return nil, t.errorf(n, "the document's aliases expand to too much; write the values out")
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		t.aliases++
		defer func() { t.aliases-- }()
		return t.value(n.Alias, path, depth+1)
	case yaml.MappingNode:
		return t.mapping(n, path, depth)
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			p := path + "[" + strconv.Itoa(i) + "]"
			t.note(p, item)
			v, err := t.value(item, p, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.ScalarNode:
		return t.scalar(n)
	}
	return nil, t.errorf(n, "cannot be read as a value")
}

func (t *tree) mapping(n *yaml.Node, path string, depth int) (any, error) {
	out := make(map[string]any, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.Value == "<<" && k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		key, err := t.key(k)
		if err != nil {
			return nil, err
		}
		if _, twice := out[key]; twice {
			return nil, t.errorf(k, "key %q is given twice in one mapping; keep one of them", key)
		}
		p := join(path, key)
		t.note(p, k)
		if out[key], err = t.value(v, p, depth+1); err != nil {
			return nil, err
		}
	}
	for _, m := range merges {
		if err := t.merge(out, m, path, depth); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// merge adds what "<<" names, under the keys that the mapping has itself.
func (t *tree) merge(into map[string]any, n *yaml.Node, path string, depth int) error {
	from := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		from = n.Content
	}
	for _, f := range from {
		v, err := t.value(f, path, depth+1)
		if err != nil {
			return err
		}
		m, ok := v.(map[string]any)
		if !ok {
			return t.errorf(f, "a merge key (<<) needs a mapping")
		}
		for k, v := range m {
			if _, has := into[k]; !has {
				into[k] = v
			}
		}
	}
	return nil
}

// key gives a mapping's key as JSON has it, a string.
func (t *tree) key(n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		return "", t.errorf(n, "a key must be a plain word")
	}
	v, err := t.scalar(n)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case nil:
		return "", t.errorf(n, "a key is missing")
	case string:
		return v, nil
	}
	return fmt.Sprint(v), nil
}

// scalar resolves a scalar as kubectl's reader does, which is YAML 1.1: yes, no, on and off are booleans too.
func (t *tree) scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, t.errorf(n, "%q is no value of type %s", n.Value, n.ShortTag())
		}
		return t.number(n, v)
	case "!!str":
		if n.Style == 0 && n.Tag == "!!str" {
			switch n.Value {
			case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
				return true, nil
			case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
				return false, nil
			}
		}
		return n.Value, nil
	case "!!timestamp":
		return n.Value, nil
	}
	return nil, t.errorf(n, "tag %s has no place in a manifest", n.ShortTag())
}

func (t *tree) number(n *yaml.Node, v any) (any, error) {
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, t.errorf(n, "%s is not a number that JSON has", n.Value)
		}
	}
	return v, nil
}

func (t *tree) note(path string, n *yaml.Node) {
	// Lines below an alias are those of the anchor, which would mislead.
	if t.lines != nil && t.aliases == 0 {
		if _, has := t.lines[path]; !has {
			t.lines[path] = n.Line + t.offset
		}
	}
}

func (t *tree) errorf(n *yaml.Node, format string, args ...any) error {
	return &docError{n.Line + t.offset, fmt.Sprintf(format, args...)}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// lineOf gives the line that an error names, or fallback.
func lineOf(err error, fallback int) (line int, msg string) {
	var d *docError
	if errors.As(err, &d) {
		return d.line, d.msg
	}
	return fallback, err.Error()
}
