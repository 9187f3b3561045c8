package flows

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// query is a request for flows that has been checked.
type query struct {
	filter       *filter.Filter
	scope        *filter.Scope
	mask         *filter.Mask
	number       uint64
	first        bool
	follow       bool
	since, until time.Time // zero for none
}

func newQuery(req *observer.GetFlowsRequest, scope *filter.Scope) (*query, error) {
	f, err := filter.New(req.GetWhitelist(), req.GetBlacklist())
	if err == nil && req.GetFirst() && req.GetFollow() {
		err = errors.New("observe flows: first and follow exclude each other")
	}
	q := &query{filter: f, scope: scope, number: req.GetNumber(), first: req.GetFirst(), follow: req.GetFollow()}
	for _, t := range []struct {
		from *timestamppb.Timestamp
		to   *time.Time
	}{{req.GetSince(), &q.since}, {req.GetUntil(), &q.until}} {
		if t.from == nil {
			continue
		}
		if err == nil {
			err = t.from.CheckValid()
		}
		*t.to = t.from.AsTime()
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	q.mask = filter.NewMask(req.GetFieldMask())
	return q, nil
}

// Observe sends the flows of a request that an observer of a scope may see, oldest first, until there are no more, or with follow
// until ctx ends. Who reads slowly is told how many they have missed.
func (o *Observer) Observe(ctx context.Context, req *observer.GetFlowsRequest, scope *filter.Scope, send func(*observer.GetFlowsResponse) error) error {
	return o.observe(ctx, req, scope, send, func() error { return nil })
}

// observe is Observe that tells by done when all that was kept has been sent, before it follows.
func (o *Observer) observe(ctx context.Context, req *observer.GetFlowsRequest, scope *filter.Scope, send func(*observer.GetFlowsResponse) error, done func() error) error {
	q, err := newQuery(req, scope)
	if err != nil {
		return err
	}
	list, next, _ := o.ring.from(0)
	if err := o.past(ctx, q, list, send); err != nil || !q.follow {
		return err
	}
	if err := done(); err != nil {
		return err
	}
	return o.followed(ctx, q, next, send)
}

// past sends the flows of a list that are asked for.
func (o *Observer) past(ctx context.Context, q *query, list []*record, send func(*observer.GetFlowsResponse) error) error {
	switch {
	case q.follow && q.number == 0 && q.since.IsZero():
		return nil // what comes
	case q.number != 0 && !q.first:
		list = o.newest(q, list)
	}
	flows := uint64(0)
	for _, r := range list {
		m := o.answer(q, r)
		if m == nil {
			continue
		}
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		if err := send(m); err != nil {
			return err
		}
		if r.lost != nil {
			continue
		}
		if flows++; flows == q.number {
			break
		}
	}
	return nil
}

// newest is the end of a list that has as many flows as are asked for.
func (o *Observer) newest(q *query, list []*record) []*record {
	flows := uint64(0)
	for i, r := range slices.Backward(list) {
		if r.lost == nil && o.answer(q, r) != nil {
			if flows++; flows == q.number {
				return list[i:]
			}
		}
	}
	return list
}

// followed sends what comes.
func (o *Observer) followed(ctx context.Context, q *query, next uint64, send func(*observer.GetFlowsResponse) error) error {
	for {
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-o.ring.after(next):
		}
		list, end, gone := o.ring.from(next)
		if gone > 0 {
			o.metrics.lost.WithLabelValues("observer").Add(float64(gone))
			if err := send(o.missed(gone, list)); err != nil {
				return err
			}
		}
		for _, r := range list {
			if !q.until.IsZero() && r.time.After(q.until) {
				return nil
			}
			if m := o.answer(q, r); m != nil {
				if err := send(m); err != nil {
					return err
				}
			}
		}
		next = end
	}
}

// answer is a record as an observer gets it, nil when it is not asked for or may not be seen.
func (o *Observer) answer(q *query, r *record) *observer.GetFlowsResponse {
	if !q.since.IsZero() && r.time.Before(q.since) || !q.until.IsZero() && r.time.After(q.until) {
		return nil
	}
	m := &observer.GetFlowsResponse{NodeName: o.cfg.Node, Time: timestamppb.New(r.time)}
	if r.lost != nil {
		m.ResponseTypes = &observer.GetFlowsResponse_LostEvents{LostEvents: r.lost}
		return m
	}
	f := q.scope.Show(o.flow(r))
	if f == nil || !q.filter.Match(f) {
		return nil
	}
	m.ResponseTypes = &observer.GetFlowsResponse_Flow{Flow: q.mask.Apply(f)}
	return m
}

// missed tells an observer that was too slow; list is what comes after.
func (o *Observer) missed(n uint64, list []*record) *observer.GetFlowsResponse {
	wall, _ := o.cfg.Clock()
	if len(list) > 0 {
		wall = list[0].time
	}
	now := timestamppb.New(wall)
	return &observer.GetFlowsResponse{NodeName: o.cfg.Node, Time: now, ResponseTypes: &observer.GetFlowsResponse_LostEvents{
		LostEvents: &flow.LostEvent{Source: flow.LostEventSource_HUBBLE_RING_BUFFER, NumEventsLost: n, Last: now},
	}}
}
