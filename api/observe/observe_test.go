// Package observe compares the protos beside it with those whose words they have.
package observe

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/api/observe/relay"
)

// TestWordsOfHubble finds every field, value and call of ours in Hubble's API, with the same number and type. The list is made by
// hack/tools/hubble/words. A filter has all that Hubble's has, since one that is not known is passed over.
func TestWordsOfHubble(t *testing.T) {
	data, err := os.ReadFile("testdata/hubble.txt")
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(data)) {
		theirs[strings.TrimSpace(line)] = true
	}
	for _, f := range []protoreflect.FileDescriptor{flow.File_observe_flow_flow_proto, observer.File_observe_observer_observer_proto, relay.File_observe_relay_relay_proto} {
		for _, line := range words(f) {
			ours[line] = true
			if !theirs[line] {
				t.Errorf("not in Hubble's API: %s", line)
			}
		}
	}
	for line := range theirs {
		if (strings.HasPrefix(line, "field flow.FlowFilter.") || strings.HasPrefix(line, "rpc ")) && !ours[line] {
			t.Errorf("missing: %s", line)
		}
	}
	if len(ours) < 250 {
		t.Errorf("%d words were compared", len(ours))
	}
}

func words(f protoreflect.FileDescriptor) (lines []string) {
	lines = append(enums(f.Enums()), messages(f.Messages())...)
	for i := range f.Services().Len() {
		for j := range f.Services().Get(i).Methods().Len() {
			m := f.Services().Get(i).Methods().Get(j)
			lines = append(lines, fmt.Sprintf("rpc %s %s %s %v %v", m.FullName(), m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer()))
		}
	}
	return lines
}

func messages(list protoreflect.MessageDescriptors) (lines []string) {
	for i := range list.Len() {
		m := list.Get(i)
		lines = append(append(lines, enums(m.Enums())...), messages(m.Messages())...)
		for j := range m.Fields().Len() {
			lines = append(lines, field(m.Fields().Get(j)))
		}
	}
	return lines
}

func field(f protoreflect.FieldDescriptor) string {
	kind, oneof := f.Kind().String(), "-"
	if m := f.Message(); m != nil {
		kind = string(m.FullName())
	} else if e := f.Enum(); e != nil {
		kind = string(e.FullName())
	}
	if o := f.ContainingOneof(); o != nil {
		oneof = string(o.Name())
	}
	return fmt.Sprintf("field %s %d %s %s %s %s", f.FullName(), f.Number(), f.Cardinality(), kind, f.JSONName(), oneof)
}

func enums(list protoreflect.EnumDescriptors) (lines []string) {
	for i := range list.Len() {
		values := list.Get(i).Values()
		for j := range values.Len() {
			lines = append(lines, fmt.Sprintf("value %s %s %d", list.Get(i).FullName(), values.Get(j).Name(), values.Get(j).Number()))
		}
	}
	return lines
}
