package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// conversation is what a server said on one stream: the bytes of each response, and how many requests that ask for something
// (not mere acknowledgements) the client had sent before.
type conversation struct {
	Messages []message
}

type message struct {
	Asked int
	Bytes []byte
}

const deltaMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

func deltaStream(handler grpc.StreamHandler) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "envoy.service.discovery.v3.AggregatedDiscoveryService", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "DeltaAggregatedResources", Handler: handler, ServerStreams: true, ClientStreams: true}},
	}
}

// bytesCodec passes messages through as they are: *[]byte in, []byte out.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("send a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("receive a %T", v)
	}
	*b = data.Materialize()
	return nil
}

// asks says whether a request is more than an acknowledgement.
func asks(request []byte) (bool, error) {
	q := &discovery.DeltaDiscoveryRequest{}
	if err := proto.Unmarshal(request, q); err != nil {
		return false, err
	}
	return q.ResponseNonce == "" || len(q.ResourceNamesSubscribe)+len(q.ResourceNamesUnsubscribe) > 0, nil
}

// recorder stands between one client and a server and writes the conversation down.
type recorder struct {
	address string // where the client connects
	server  *grpc.Server
	upward  *grpc.ClientConn
	mu      sync.Mutex
	said    conversation
	asked   int
}

func newRecorder(server string) (*recorder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	r := &recorder{address: l.Addr().String()}
	r.upward, err = grpc.NewClient("passthrough:///"+server, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{}), grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record: %w", err), l.Close())
	}
	r.server = grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.MaxRecvMsgSize(1<<30))
	r.server.RegisterService(deltaStream(r.pass), r)
	go func() { _ = r.server.Serve(l) }() // ends in close
	return r, nil
}

func (r *recorder) close() error {
	r.server.Stop()
	return r.upward.Close()
}

// pass carries one stream in both directions until either side ends it.
func (r *recorder) pass(_ any, down grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	up, err := r.upward.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, deltaMethod)
	if err != nil {
		return err
	}
	go func() {
		defer cancel()
		var request []byte
		for down.RecvMsg(&request) == nil {
			if more, err := asks(request); err != nil || r.count(more) < 0 || up.SendMsg(request) != nil {
				return
			}
		}
	}()
	var response []byte
	for {
		if err := up.RecvMsg(&response); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		r.write(response)
		if err := down.SendMsg(response); err != nil {
			return err
		}
	}
}

func (r *recorder) count(more bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if more {
		r.asked++
	}
	return r.asked
}

func (r *recorder) write(response []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said.Messages = append(r.said.Messages, message{r.asked, response})
}

// heard is what has been said so far.
func (r *recorder) heard() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.Messages[:len(r.said.Messages):len(r.said.Messages)]
}
