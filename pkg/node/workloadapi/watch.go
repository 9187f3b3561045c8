package workloadapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/node"
)

// view is what a pod may have now. It was read in this order, so the bundles are never older than the SVID.
type view struct {
	svid    *node.SVID // nil while pending
	bundles *node.Bundles
	// known is false while no pod of that UID runs here.
	known bool
	// pending is node.ErrUnknown or node.ErrPending; nil when all is there that was asked for.
	pending error
	// A change of either is waited for.
	identity, trust <-chan struct{}
}

// look reads a view. With bundlesOnly, a SVID that is pending is no matter.
func (s *Server) look(uid string, bundlesOnly bool) (view, error) {
	var v view
	var err, berr error
	v.svid, v.identity, err = s.Identities.X509(uid)
	v.bundles, v.trust, berr = s.Identities.Bundles()
	for _, e := range []error{err, berr} {
		if e != nil && !errors.Is(e, node.ErrUnknown) && !errors.Is(e, node.ErrPending) {
			return view{}, e
		}
	}
	v.known = !errors.Is(err, node.ErrUnknown)
	switch {
	case !v.known:
		v.pending = node.ErrUnknown
	case err != nil && !bundlesOnly || berr != nil:
		v.pending = node.ErrPending
	}
	return v, nil
}

// wait returns nil when the view may be another one.
func (s *Server) wait(ctx context.Context, v view, limit <-chan time.Time) error {
	select {
	case <-v.identity:
	case <-v.trust:
	case <-limit:
		if !v.known {
			s.refuse("first answer", fmt.Errorf("%w has the UID %s, as the control plane tells it", node.ErrUnknown, callerOf(ctx).PodUID))
			return errNone
		}
		return status.Error(codes.Unavailable, "the identity is not there yet")
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-s.stopped:
		return status.Error(codes.Unavailable, "the agent stops")
	}
	return nil
}

// settle waits for a first view, within Config.Wait.
func (s *Server) settle(ctx context.Context, bundlesOnly bool) (view, error) {
	limit := time.NewTimer(s.Wait)
	defer limit.Stop()
	known := false
	for {
		if err := s.still(ctx); err != nil {
			return view{}, err
		}
		v, err := s.look(callerOf(ctx).PodUID, bundlesOnly)
		if err != nil {
			return view{}, s.internal("read identity", err)
		}
		if v.pending == nil {
			return v, nil
		}
		if known && !v.known {
			return view{}, errNone // it has finished while it was waited for
		}
		known = v.known
		if err := s.wait(ctx, v, limit.C); err != nil {
			return view{}, err
		}
	}
}

// still looks whether the caller is still who it was.
func (s *Server) still(ctx context.Context) error {
	if err := callerOf(ctx).Alive(); err != nil {
		s.refuse("push", err)
		return errNone
	}
	return nil
}

func (s *Server) internal(what string, err error) error {
	s.Log.Warn("workload api: cannot answer", "what", what, "error", err)
	return status.Error(codes.Internal, "cannot "+what)
}

// watch sends what build makes of the first view, and of each one after it that makes another message, until the pod ends.
func watch[M proto.Message](ctx context.Context, s *Server, method string, bundlesOnly bool, build func(view) (M, error), send func(M) error) error {
	v, err := s.settle(ctx, bundlesOnly)
	if err != nil {
		return err
	}
	latency := s.metrics.push.WithLabelValues(method)
	var last proto.Message
	var woken time.Time
	for {
		if v.pending == nil {
			m, err := build(v)
			if err != nil {
				return s.internal("encode identity", err)
			}
			if last == nil || !proto.Equal(last, m) {
				if err := s.still(ctx); err != nil {
					return err
				}
				if err := send(m); err != nil {
					return err
				}
				if last != nil {
					latency.Observe(time.Since(woken).Seconds())
				}
				last = m
			}
		}
		if err := s.wait(ctx, v, nil); err != nil {
			return err
		}
		woken = time.Now()
		if v, err = s.look(callerOf(ctx).PodUID, bundlesOnly); err != nil {
			return s.internal("read identity", err)
		}
		if !v.known {
			return errNone
		}
	}
}
