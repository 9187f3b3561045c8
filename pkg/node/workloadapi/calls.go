package workloadapi

import (
	"context"
	"path"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/node/attest"
)

// header must be in every call, so that no browser or proxy can be made to call by accident (SPIFFE Workload Endpoint, 6.1).
const header = "workload.spiffe.io"

// errNone is the answer to whoever has no identity, whatever the reason (SPIFFE Workload API, 6.1.1).
var errNone = status.Error(codes.PermissionDenied, "no identity issued")

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	var out any
	err := s.admit(ctx, info.FullMethod, false, func(ctx context.Context) (err error) {
		out, err = next(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return s.admit(ss.Context(), info.FullMethod, true, func(ctx context.Context) error {
		return next(srv, attestedStream{ServerStream: ss, ctx: ctx})
	})
}

// attestedStream carries the caller in its context.
type attestedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s attestedStream) Context() context.Context { return s.ctx }

// admit makes a call of a caller that is known, within its limits.
func (s *Server) admit(ctx context.Context, full string, stream bool, next func(context.Context) error) (err error) {
	method := path.Base(full)
	defer func() { s.metrics.calls.WithLabelValues(method, status.Code(err).String()).Inc() }()
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get(header)) != 1 || md.Get(header)[0] != "true" {
		return status.Errorf(codes.InvalidArgument, "the metadata %s: true is required", header)
	}
	caller, err := attest.FromContext(ctx)
	if err != nil {
		s.refuse(method, err)
		return errNone
	}
	if !s.calls.take(caller.PodUID, stream) {
		return status.Error(codes.ResourceExhausted, "too many calls at a time")
	}
	defer s.calls.give(caller.PodUID, stream)
	if stream {
		s.metrics.streams.WithLabelValues(method).Inc()
		defer s.metrics.streams.WithLabelValues(method).Dec()
	}
	return next(context.WithValue(ctx, callerKey{}, caller))
}

// refuse logs why, which a caller is not told, so rarely that nobody can fill the log.
func (s *Server) refuse(method string, err error) {
	s.refused.Do(func() { s.Log.Info("workload api: caller refused", "method", method, "reason", err) })
}

// calls counts the calls at a time.
type calls struct {
	perPod, streams int

	mu   sync.Mutex
	open map[string]int // by pod UID
	all  int            // streams
}

func newCalls(l Limits) *calls {
	return &calls{perPod: l.Calls, streams: l.Streams, open: map[string]int{}}
}

func (c *calls) take(uid string, stream bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[uid] >= c.perPod || stream && c.all >= c.streams {
		return false
	}
	c.open[uid]++
	if stream {
		c.all++
	}
	return true
}

func (c *calls) give(uid string, stream bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[uid]--; c.open[uid] <= 0 {
		delete(c.open, uid)
	}
	if stream {
		c.all--
	}
}
