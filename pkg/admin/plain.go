package admin

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

// maxDepth bounds a dump: rows are trees, and a deeper one is a mistake.
const maxDepth = 40

// Plain makes a row of a table one of maps, lists and texts that JSON shows, without the secrets in it: bytes are shown by
// their number only, the data of Secrets and texts that hold a private key not at all, Envoy resources as ResourceJSON.
func Plain(v any) any { return plain(reflect.ValueOf(v), 0) }

func plain(v reflect.Value, depth int) any {
	if !v.IsValid() || depth > maxDepth {
		return nil
	}
	if out, ok := special(v); ok {
		return out
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return plain(v.Elem(), depth+1)
	case reflect.Struct:
		return plainStruct(v, depth)
	case reflect.Map:
		return plainMap(v, depth)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("%d bytes", v.Len())
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(v.Index(i), depth+1)
		}
		return out
	case reflect.String:
		if s := v.String(); !holdsKey(s) {
			return s
		}
		return redacted
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return v.Type().String()
	}
	return v.Interface()
}

// special are the types that show themselves, or must not.
func special(v reflect.Value) (any, bool) {
	if !v.CanInterface() || (v.Kind() == reflect.Pointer && v.IsNil()) {
		return nil, !v.CanInterface()
	}
	switch x := v.Interface().(type) {
	case model.SecretData:
		return redacted, true
	case *snapshot.Resource:
		return map[string]any{"version": x.Version(), "origins": Plain(x.Origins), "resource": ResourceJSON(x.Body)}, true
	case proto.Message:
		m := proto.Clone(x)
		if err := redact(m.ProtoReflect()); err != nil {
			return err.Error(), true
		}
		out, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			return err.Error(), true
		}
		return json.RawMessage(out), true
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil {
			return err.Error(), true
		}
		return string(text), true
	}
	return nil, false
}

// plainStruct leaves out fields that are empty.
func plainStruct(v reflect.Value, depth int) any {
	out := map[string]any{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && !v.Field(i).IsZero() {
			out[f.Name] = plain(v.Field(i), depth+1)
		}
	}
	return out
}

func plainMap(v reflect.Value, depth int) any {
	out := map[string]any{}
	for it := v.MapRange(); it.Next(); {
		out[fmt.Sprint(it.Key().Interface())] = plain(it.Value(), depth+1)
	}
	return out
}
