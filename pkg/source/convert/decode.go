package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"fairlead.io/fairlead/pkg/model"
)

// input is one object on its way into a model value.
type input struct {
	kind    *Kind
	version string
	json    []byte
}

// object is what all model values are, by their embedded Meta.
type object interface{ GetMeta() *model.Meta }

// typed decodes into an API type and converts that. A nil result means that the object is not one to keep. With an error
// comes what could be read.
func typed[T any, P interface {
	*T
	metav1.Object
}, M interface {
	comparable
	object
}](conv func(P) M) func(*input) (object, error) {
	return func(in *input) (object, error) {
		o := P(new(T))
		issues, err := strict(in.json, o)
		var none M
		m := conv(o)
		if m == none {
			return nil, err
		}
		m.GetMeta().Issues = append(issues, m.GetMeta().Issues...)
		return m, err
	}
}

// custom decodes an object whose API type is itself the model's.
func custom[S any](in *input) (object, error) {
	var o struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              S   `json:"spec"`
		Status            any `json:"status"` // never an input
	}
	issues, err := strict(in.json, &o)
	m := &model.Object[S]{
		Meta: metaOf(&o.ObjectMeta, model.Ref{Group: in.kind.Group, Kind: in.kind.Kind}, in.version),
		Spec: o.Spec,
	}
	m.Issues = issues
	return m, err
}

// fieldError is a value of the wrong type; path may be empty.
type fieldError struct{ path, msg string }

func (e *fieldError) Error() string {
	if e.path == "" {
		return e.msg
	}
	return e.path + ": " + e.msg
}

// strict decodes JSON with case-sensitive names. Fields that the type lacks become issues; err is the first value that
// does not fit, and everything else is decoded nevertheless.
func strict(data []byte, into any) ([]model.FieldIssue, error) {
	unknown, err := kjson.UnmarshalStrict(data, into)
	var issues []model.FieldIssue
	for _, e := range unknown {
		var f kjson.FieldError
		if errors.As(e, &f) {
			issues = append(issues, unknownField(f.FieldPath()))
		}
	}
	if err == nil {
		return issues, nil
	}
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return issues, &fieldError{msg: strings.TrimPrefix(err.Error(), "json: ")}
	}
	msg := fmt.Sprintf("a %s stands here, the field needs %s", wrong.Value, jsonType(wrong.Type.Kind().String()))
	if wrong.Type.Kind() == reflect.String && (wrong.Value == "bool" || strings.HasPrefix(wrong.Value, "number")) {
		msg += "; put quotes around it"
	}
	return issues, &fieldError{pathAt(data, wrong.Offset), msg}
}

func unknownField(path string) model.FieldIssue {
	return model.FieldIssue{Path: path, Unknown: true, Message: "no such field; it is ignored: check its name and its place"}
}

func jsonType(kind string) string {
	switch {
	case kind == "struct" || kind == "map":
		return "an object"
	case kind == "slice" || kind == "array":
		return "a list"
	case kind == "bool":
		return "true or false"
	case strings.HasPrefix(kind, "int") || strings.HasPrefix(kind, "uint"):
		return "a whole number that fits " + kind
	case strings.HasPrefix(kind, "float"):
		return "a number"
	}
	return "a " + kind
}

// pathAt gives the field whose value ends at an offset of a JSON text, or begins before it when it is an object or a list.
func pathAt(data []byte, offset int64) string {
	d := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		key   string
		index int
		list  bool
		want  bool // the next token is a key
	}
	var stack []level
	path := func() string {
		p := ""
		for _, l := range stack {
			if l.list {
				p += "[" + strconv.Itoa(l.index) + "]"
			} else if l.key != "" {
				p = join(p, l.key)
			}
		}
		return p
	}
	for {
		tok, err := d.Token()
		if err != nil {
			return ""
		}
		top := len(stack) - 1
		if delim, ok := tok.(json.Delim); ok && (delim == '}' || delim == ']') {
			if stack = stack[:top]; len(stack) == 0 {
				return ""
			}
		} else {
			if top >= 0 && stack[top].want {
				stack[top].key, stack[top].want = tok.(string), false
				continue
			}
			if top >= 0 && stack[top].list {
				stack[top].index++
			}
			if d.InputOffset() >= offset {
				return path()
			}
			if ok {
				stack = append(stack, level{list: delim == '[', index: -1, want: delim == '{'})
				continue
			}
		}
		if top := len(stack) - 1; !stack[top].list {
			stack[top].want = true
		}
	}
}

// Object converts the JSON of an object of an API server. A value that the kind's type cannot hold is an issue that is not
// Unknown: such an object must not be obeyed, since a part of it is missing. nil means that it is not one to keep.
func (k Kind) Object(version string, data []byte) (any, *model.Meta) {
	obj, err := k.decode(&input{kind: &k, version: version, json: data})
	if obj == nil {
		return nil, nil
	}
	m := obj.GetMeta()
	var wrong *fieldError
	if errors.As(err, &wrong) {
		issue(m, wrong.path, wrong.msg)
	}
	return obj, m
}
