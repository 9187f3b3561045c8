package filter

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"fairlead.io/fairlead/api/observe/flow"
)

// Mask says which fields of a flow are wanted. The nil Mask is all.
type Mask struct{ fields tree }

// tree has the fields of a message that are wanted; a nil branch is all of a field.
type tree map[protoreflect.Name]tree

// NewMask gives the Mask of paths such as "source.pod_name". A path that no flow here has is of no effect: it asks for nothing.
func NewMask(m *fieldmaskpb.FieldMask) *Mask {
	if len(m.GetPaths()) == 0 {
		return nil
	}
	out := &Mask{tree{}}
	for _, path := range m.GetPaths() {
		at := out.fields
		parts := strings.Split(path, ".")
		for i, part := range parts {
			name := protoreflect.Name(part)
			next, there := at[name]
			if there && next == nil {
				break // all of it is wanted already
			}
			if i == len(parts)-1 {
				at[name] = nil
				break
			}
			if next == nil {
				next = tree{}
				at[name] = next
			}
			at = next
		}
	}
	return out
}

// Apply gives a flow with what is wanted of it.
func (m *Mask) Apply(f *flow.Flow) *flow.Flow {
	if m == nil {
		return f
	}
	out := proto.CloneOf(f)
	m.fields.keep(out.ProtoReflect())
	return out
}

func (t tree) keep(m protoreflect.Message) {
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		branch, ok := t[d.Name()]
		switch {
		case !ok:
			m.Clear(d)
		case branch != nil && d.Message() != nil && d.Cardinality() != protoreflect.Repeated:
			branch.keep(v.Message())
		}
		return true
	})
}
