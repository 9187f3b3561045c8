package snapshot

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/model"
)

// Encode makes the Resource of a message: deterministic bytes, and their xxhash64, which is equal on every replica that
// runs the same build. The error is the encoder's (a string that is not UTF-8).
func Encode(name string, m proto.Message, position uint64, origins ...model.Ref) (*Resource, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s %q: %w", m.ProtoReflect().Descriptor().FullName(), name, err)
	}
	typeURL := "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
	r := &Resource{Type: typeURL, Name: name, Hash: xxhash.Sum64(b), Position: position, Origins: origins}
	r.seal(b)
	return r, nil
}
