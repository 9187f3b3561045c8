package admin

import (
	"bytes"
	"encoding/json"
	"strings"

	udpa "github.com/cncf/xds/go/udpa/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
)

const redacted = "[redacted]"

// ResourceJSON decodes an Envoy resource to JSON in which everything that Envoy's API marks as sensitive
// (udpa.annotations.sensitive: private keys, passwords, session tickets) is replaced, nested messages included. Bytes that
// cannot be decoded are withheld.
func ResourceJSON(body *anypb.Any) json.RawMessage {
	withheld := func(err error) json.RawMessage {
		out, _ := json.Marshal(map[string]string{"@type": body.GetTypeUrl(), "error": err.Error()})
		return out
	}
	m, err := body.UnmarshalNew()
	if err != nil {
		return withheld(err)
	}
	if err := redact(m.ProtoReflect()); err != nil {
		return withheld(err)
	}
	out, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return withheld(err)
	}
	var plain bytes.Buffer // protojson adds random spaces, so that nobody compares its bytes
	if err := json.Compact(&plain, out); err != nil {
		return withheld(err)
	}
	return plain.Bytes()
}

// redact works on m in place.
func redact(m protoreflect.Message) error {
	if a, ok := m.Interface().(*anypb.Any); ok {
		return redactAny(a)
	}
	var failed error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if sensitive(f) {
			blot(m, f)
			return true
		}
		failed = redactField(f, v)
		return failed == nil
	})
	return failed
}

func redactField(f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch {
	case f.IsMap() && f.MapValue().Message() != nil:
		var failed error
		v.Map().Range(func(_ protoreflect.MapKey, item protoreflect.Value) bool {
			failed = redact(item.Message())
			return failed == nil
		})
		return failed
	case f.IsList() && f.Message() != nil:
		for i := range v.List().Len() {
			if err := redact(v.List().Get(i).Message()); err != nil {
				return err
			}
		}
	case !f.IsMap() && !f.IsList() && f.Message() != nil:
		return redact(v.Message())
	}
	return nil
}

func redactAny(a *anypb.Any) error {
	inner, err := a.UnmarshalNew()
	if err != nil {
		return err
	}
	if err := redact(inner.ProtoReflect()); err != nil {
		return err
	}
	return a.MarshalFrom(inner)
}

// sensitive reads the annotation of Envoy's API.
func sensitive(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	return ok && o != nil && proto.HasExtension(o, udpa.E_Sensitive) && proto.GetExtension(o, udpa.E_Sensitive).(bool)
}

// blot replaces the strings and bytes of a field, however deep, and clears what is neither.
func blot(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsList() && f.Message() != nil:
		l := m.Get(f).List()
		for i := range l.Len() {
			blotAll(l.Get(i).Message())
		}
	case f.IsList() || f.IsMap():
		m.Clear(f)
	case f.Message() != nil:
		blotAll(m.Get(f).Message())
	case f.Kind() == protoreflect.StringKind:
		m.Set(f, protoreflect.ValueOfString(redacted))
	case f.Kind() == protoreflect.BytesKind:
		m.Set(f, protoreflect.ValueOfBytes([]byte(redacted)))
	default:
		m.Clear(f)
	}
}

func blotAll(m protoreflect.Message) {
	var set []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		set = append(set, f)
		return true
	})
	for _, f := range set {
		blot(m, f)
	}
}

// holdsKey tells whether a text is PEM of a private key.
func holdsKey(s string) bool { return strings.Contains(s, "PRIVATE KEY-----") }
