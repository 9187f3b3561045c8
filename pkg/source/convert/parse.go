package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parse reads one chunk into node trees, whose lines count from offset. A chunk of YAML holds one tree; JSON texts may
// follow one another.
func parse(c chunk) (nodes []*yaml.Node, offset int, err error) {
	body := bytes.TrimSpace(bytes.TrimPrefix(c.text, []byte("---")))
	if len(body) == 0 || body[0] != '{' {
		return parseYAML(c)
	}
	// A YAML parser refuses some JSON (tabs, surrogate pairs), and a JSON parser refuses YAML's flow mappings.
	nodes, jsonErr := parseJSON(c)
	if jsonErr == nil {
		return nodes, 0, nil
	}
	nodes, offset, err = parseYAML(c)
	if err != nil && bytes.HasPrefix(bytes.TrimSpace(body[1:]), []byte(`"`)) {
		err = jsonErr
	}
	return nodes, offset, err
}

func parseYAML(c chunk) (nodes []*yaml.Node, offset int, err error) {
	defer func() { // the parser reports some faults of its scanner by panicking through
		if r := recover(); r != nil {
			nodes, err = nil, &docError{c.line, fmt.Sprintf("cannot be read as YAML: %v", r)}
		}
	}()
	var doc yaml.Node
	if err := yaml.Unmarshal(c.text, &doc); err != nil {
		return nil, 0, yamlError(err, c.line-1)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil, 0, nil
	}
	return doc.Content[:1], c.line - 1, nil
}

// yamlError moves the line in the parser's message ("yaml: line 3: did not find …") to the file's.
func yamlError(err error, offset int) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if num, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(num); err == nil {
				line, msg = n, text
			}
		}
	}
	return &docError{line + offset, "cannot be read as YAML: " + msg}
}

// jsonReader builds YAML nodes from JSON text, for their line numbers.
type jsonReader struct {
	*json.Decoder
	text []byte
	base int

	at, line int // the line of offset at, to go on counting from
}

func parseJSON(c chunk) ([]*yaml.Node, error) {
	text := bytes.TrimPrefix(c.text, []byte("---"))
	r := &jsonReader{Decoder: json.NewDecoder(bytes.NewReader(text)), text: text, base: c.line}
	r.UseNumber()
	var out []*yaml.Node
	for {
		n, err := r.node(0)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, r.fault(err)
		}
		out = append(out, n)
	}
}

func (r *jsonReader) fault(err error) error {
	var d *docError
	if errors.As(err, &d) {
		return err
	}
	off := int(r.InputOffset())
	var syn *json.SyntaxError
	if errors.As(err, &syn) && int(syn.Offset) > off {
		off = int(syn.Offset)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		off = len(r.text)
	}
	return &docError{r.lineAt(off), "cannot be read as JSON: " + err.Error()}
}

// lineAt is the line of an offset; offsets come in rising order.
func (r *jsonReader) lineAt(off int) int {
	off = min(off, len(r.text))
	if off > r.at {
		r.line += bytes.Count(r.text[r.at:off], []byte("\n"))
		r.at = off
	}
	return r.base + r.line
}

func (r *jsonReader) node(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, &docError{r.lineAt(int(r.InputOffset())), fmt.Sprintf("is nested deeper than %d levels", maxDepth)}
	}
	tok, err := r.Token()
	if err != nil {
		if depth > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.lineAt(int(r.InputOffset()))}
	switch v := tok.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if v == '{' {
			n.Kind = yaml.MappingNode
		}
		for r.More() {
			item, err := r.node(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		if _, err := r.Token(); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}
