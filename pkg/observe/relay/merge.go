package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/api/observe/relay"
	observev1 "fairlead.io/fairlead/api/observe/v1"
)

func now() *timestamppb.Timestamp { return timestamppb.Now() }

// past sends the kept flows of all places in the order of their times, as many as are asked for, and gives the places that go on.
func (g *gathering) past(ctx context.Context, from []*answers, req *observer.GetFlowsRequest) (following []*answers, err error) {
	out := &selection{number: req.GetNumber(), first: req.GetFirst(), send: func(m *observer.GetFlowsResponse) error {
		return g.pass(&observev1.Answer{What: &observev1.Answer_Flow{Flow: m}})
	}}
	heads := make([]head, 0, len(from))
	fits := func(a *answers, h head, err error) error {
		switch {
		case err == nil:
			heads = append(heads, h)
		case errors.Is(err, errFollows):
			following = append(following, a)
		case errors.Is(err, io.EOF):
		case ctx.Err() != nil:
			return status.FromContextError(ctx.Err()).Err()
		case status.Code(err) == codes.InvalidArgument:
			return err // the request is wrong, and is so for all
		default:
			a.end()
			return g.state(relay.NodeState_NODE_UNAVAILABLE, status.Convert(err).Message(), a.name)
		}
		return nil
	}
	first, errs := make([]head, len(from)), make([]error, len(from))
	var all sync.WaitGroup
	for i, a := range from { // together: patience with one is patience with all
		all.Go(func() { first[i], errs[i] = g.read(ctx, a) })
	}
	all.Wait()
	for i, a := range from {
		if err := fits(a, first[i], errs[i]); err != nil {
			return nil, err
		}
	}
	for len(heads) > 0 && !out.full() {
		i := oldest(heads)
		h := heads[i]
		heads = slices.Delete(heads, i, i+1)
		if err := out.take(h.m); err != nil {
			return nil, err
		}
		next, err := g.read(ctx, h.answers)
		if err := fits(h.answers, next, err); err != nil {
			return nil, err
		}
	}
	return following, out.flush()
}

func oldest(heads []head) (best int) {
	for i := range heads {
		if heads[i].time().Before(heads[best].time()) {
			best = i
		}
	}
	return best
}

// maxLast bounds how many flows are kept to find the newest.
const maxLast = 16384

// selection passes on the first or last flows.
type selection struct {
	number uint64 // 0 is all
	first  bool
	send   func(*observer.GetFlowsResponse) error
	sent   uint64
	last   []*observer.GetFlowsResponse
}

// full tells whether no more are wanted.
func (s *selection) full() bool { return s.first && s.number != 0 && s.sent >= s.number }

func (s *selection) take(m *observer.GetFlowsResponse) error {
	if s.number != 0 && !s.first {
		if s.last = append(s.last, m); uint64(len(s.last)) > min(s.number, maxLast) {
			s.last = slices.Delete(s.last, 0, 1)
		}
		return nil
	}
	if m.GetFlow() != nil {
		s.sent++
	}
	return s.send(m)
}

func (s *selection) flush() error {
	for _, m := range s.last {
		if err := s.send(m); err != nil {
			return err
		}
	}
	return nil
}
