package snapshot

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// The fields of envoy.service.discovery.v3.Resource, of google.protobuf.Any, and where the first stands in a
// DeltaDiscoveryResponse.
const (
	responseResources protowire.Number = 2
	resourceVersion   protowire.Number = 1
	resourceAny       protowire.Number = 2
	resourceName      protowire.Number = 3
	anyType           protowire.Number = 1
	anyValue          protowire.Number = 2
)

// Wire is the resource as an element of a DeltaDiscoveryResponse: field, length, name, version and body. It is encoded
// once, with the resource, and shared by every response that carries it.
func (r *Resource) Wire() mem.Buffer {
	if r.wire == nil {
		n := *r // made by hand: it has no place of its own to keep the bytes
		n.seal(r.Body.GetValue())
		return n.wire
	}
	return r.wire
}

// seal encodes the resource around its body, which becomes a part of those bytes.
func (r *Resource) seal(body []byte) {
	version := r.Version()
	inner := protowire.SizeTag(anyType) + protowire.SizeBytes(len(r.Type)) + protowire.SizeTag(anyValue) + protowire.SizeBytes(len(body))
	size := protowire.SizeTag(resourceVersion) + protowire.SizeBytes(len(version)) +
		protowire.SizeTag(resourceName) + protowire.SizeBytes(len(r.Name)) +
		protowire.SizeTag(resourceAny) + protowire.SizeBytes(inner)
	b := make([]byte, 0, protowire.SizeTag(responseResources)+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, responseResources, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, resourceVersion, protowire.BytesType)
	b = protowire.AppendString(b, version)
	b = protowire.AppendTag(b, resourceName, protowire.BytesType)
	b = protowire.AppendString(b, r.Name)
	b = protowire.AppendTag(b, resourceAny, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	b = protowire.AppendTag(b, anyType, protowire.BytesType)
	b = protowire.AppendString(b, r.Type)
	b = protowire.AppendTag(b, anyValue, protowire.BytesType)
	b = protowire.AppendBytes(b, body)
	r.wire, r.size = mem.SliceBuffer(b), len(b)
	r.refer(body)
	r.Body = &anypb.Any{TypeUrl: r.Type, Value: b[len(b)-len(body) : len(b) : len(b)]}
}
