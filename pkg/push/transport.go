package push

import (
	"context"
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers what codec falls back to
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairlead.io/fairlead/pkg/snapshot"
)

// reply is one response of a stream, before it is encoded for its protocol.
type reply struct {
	typeURL, nonce string
	seq            uint64
	resources      []*snapshot.Resource
	removed        []string
}

// transport is what a stream talks to: delta ADS itself, or an adapter of another protocol.
type transport interface {
	Context() context.Context
	Recv() (*discovery.DeltaDiscoveryRequest, error)
	Send(*reply) error
}

// deltaTransport is delta ADS. Its responses are put together from bytes that all streams share.
type deltaTransport struct {
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	identifier string
}

func (t deltaTransport) Send(r *reply) error {
	return t.SendMsg(&frame{reply: r, identifier: t.identifier})
}

// frame is a reply as a message. codec encodes it without copying a resource; to anybody else it is a
// DeltaDiscoveryResponse.
type frame struct {
	*reply
	identifier string
}

// ProtoReflect implements proto.Message for servers that do not use codec.
func (f *frame) ProtoReflect() protoreflect.Message {
	m := &discovery.DeltaDiscoveryResponse{
		SystemVersionInfo: strconv.FormatUint(f.seq, 10), TypeUrl: f.typeURL, Nonce: f.nonce, RemovedResources: f.removed,
		ControlPlane: &core.ControlPlane{Identifier: f.identifier},
	}
	for _, r := range f.resources {
		m.Resources = append(m.Resources, &discovery.Resource{Name: r.Name, Version: r.Version(), Resource: r.Body})
	}
	return m.ProtoReflect()
}

// buffers encodes the frame: its own fields, and the resources as they are (DeltaDiscoveryResponse, discovery.proto).
func (f *frame) buffers() mem.BufferSlice {
	b := make([]byte, 0, 256)
	str := func(field protowire.Number, s string) {
		b = protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
	}
	str(1, strconv.FormatUint(f.seq, 10))
	str(4, f.typeURL)
	str(5, f.nonce)
	for _, name := range f.removed {
		str(6, name)
	}
	b = protowire.AppendTag(b, 7, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(1)+protowire.SizeBytes(len(f.identifier))))
	str(1, f.identifier)
	out := make(mem.BufferSlice, 0, len(f.resources)+1)
	out = append(out, mem.SliceBuffer(b))
	for _, r := range f.resources {
		out = append(out, r.Wire())
	}
	return out
}

// codec is grpc's protobuf codec, and knows frames.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return f.buffers(), nil
	}
	return c.CodecV2.Marshal(v)
}
