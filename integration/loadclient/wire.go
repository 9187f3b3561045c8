package loadclient

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// codec encodes requests, and leaves responses as they came.
type codec struct{}

// frame is a received message. It is valid until free.
type frame struct{ buf mem.Buffer }

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := proto.Marshal(v.(proto.Message))
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*frame).buf = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}

func (f *frame) free() {
	if f.buf != nil {
		f.buf.Free()
		f.buf = nil
	}
}

// response is a DiscoveryResponse or a DeltaDiscoveryResponse, cut into parts of the received bytes.
type response struct {
	typeURL, nonce, version string
	// resources are encoded messages: discovery.v3.Resource in delta, google.protobuf.Any in state-of-the-world.
	resources [][]byte
	removed   []string
	size      int
}

// cut takes a response apart (field numbers: envoy/service/discovery/v3/discovery.proto).
func cut(b []byte, sotw bool) (*response, error) {
	r := &response{size: len(b)}
	err := fields(b, func(n protowire.Number, v []byte) {
		switch {
		case n == 1:
			r.version = string(v)
		case n == 2:
			r.resources = append(r.resources, v)
		case n == 4:
			r.typeURL = string(v)
		case n == 5:
			r.nonce = string(v)
		case n == 6 && !sotw:
			r.removed = append(r.removed, string(v))
		}
	})
	if err == nil && r.typeURL == "" {
		err = errors.New("no type_url")
	}
	if err != nil {
		return nil, fmt.Errorf("read response of %d bytes: %w", len(b), err)
	}
	return r, nil
}

// open takes one resource apart. The parts point into b.
func open(b []byte, sotw bool) (name, version, body []byte, err error) {
	anyBytes := b
	if !sotw {
		anyBytes = nil
		if err := fields(b, func(n protowire.Number, v []byte) {
			switch n {
			case 1:
				version = v
			case 2:
				anyBytes = v
			case 3:
				name = v
			}
		}); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := fields(anyBytes, func(n protowire.Number, v []byte) {
		if n == 2 {
			body = v
		}
	}); err != nil {
		return nil, nil, nil, err
	}
	if sotw { // every type that Envoy asks for has its name in field 1
		err = fields(body, func(n protowire.Number, v []byte) {
			if n == 1 && name == nil {
				name = v
			}
		})
	}
	return name, version, body, err
}

// fields calls fn for every length-delimited field of an encoded message.
func fields(b []byte, fn func(protowire.Number, []byte)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		fn(num, v)
		b = b[n:]
	}
	return nil
}
