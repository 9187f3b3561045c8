// Command words prints every field and every value of Hubble's API, one a line: what api/observe is compared with.
//
//	go run ./words > ../../../api/observe/testdata/hubble.txt
package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/cilium/cilium/api/v1/flow"
	"github.com/cilium/cilium/api/v1/observer"
	"github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func main() {
	var lines []string
	for _, f := range []protoreflect.FileDescriptor{flow.File_flow_flow_proto, observer.File_observer_observer_proto, relay.File_relay_relay_proto} {
		lines = append(lines, enums(f.Enums())...)
		lines = append(lines, messages(f.Messages())...)
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				m := f.Services().Get(i).Methods().Get(j)
				lines = append(lines, fmt.Sprintf("rpc %s %s %s %v %v", m.FullName(), m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer()))
			}
		}
	}
	slices.Sort(lines)
	for _, l := range lines {
		fmt.Fprintln(os.Stdout, l)
	}
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
