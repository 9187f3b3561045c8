package flows

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/api/observe/observer"
	observev1 "fairlead.io/fairlead/api/observe/v1"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// maxAsks bounds what a server may ask at once.
const maxAsks = 64

// report is one stream to a server.
type report struct {
	o      *Observer
	stream grpc.BidiStreamingClient[observev1.Answer, observev1.Question]
	sendMu sync.Mutex // of stream.Send

	mu   sync.Mutex // guards what follows
	asks map[uint64]*asked
}

// asked is one question under way.
type asked struct {
	end    context.CancelFunc
	credit *credit
}

// Report answers on a stream what a server asks, until the stream ends.
func (o *Observer) Report(stream grpc.BidiStreamingClient[observev1.Answer, observev1.Question]) error {
	r := &report{o: o, stream: stream, asks: map[uint64]*asked{}}
	ctx, cancel := context.WithCancel(stream.Context())
	var running sync.WaitGroup
	defer func() { cancel(); running.Wait() }()
	if err := r.send(&observev1.Answer{What: &observev1.Answer_Hello{Hello: &observev1.Hello{Version: o.cfg.Version}}}); err != nil {
		_, err := stream.Recv() // says why
		return err
	}
	for {
		q, err := stream.Recv()
		if err != nil {
			return err
		}
		switch w := q.GetWhat().(type) {
		case *observev1.Question_Ask:
			a, actx := r.begin(ctx, q.GetId(), w.Ask.GetCredit())
			if a == nil {
				if err := r.end(q.GetId(), status.Errorf(codes.ResourceExhausted, "%d questions are being answered already", maxAsks)); err != nil {
					return err
				}
				continue
			}
			running.Go(func() {
				_ = r.end(q.GetId(), r.answer(actx, q.GetId(), w.Ask, a)) // when it fails, Recv says why
			})
		case *observev1.Question_Credit:
			if a := r.of(q.GetId()); a != nil {
				a.credit.add(w.Credit)
			}
		case *observev1.Question_End:
			if a := r.of(q.GetId()); a != nil {
				a.end()
			}
		}
	}
}

func (r *report) send(m *observev1.Answer) error {
	r.sendMu.Lock()
	defer r.sendMu.Unlock()
	return r.stream.Send(m)
}

// begin takes a question up; nil when there are too many, or one of that id.
func (r *report) begin(ctx context.Context, id uint64, n uint32) (*asked, context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asks[id] != nil || len(r.asks) >= maxAsks {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &asked{end: cancel, credit: newCredit(n)}
	r.asks[id] = a
	return a, ctx
}

func (r *report) of(id uint64) *asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asks[id]
}

// end says that a question has been answered.
func (r *report) end(id uint64, err error) error {
	r.mu.Lock()
	if a := r.asks[id]; a != nil {
		a.end()
		delete(r.asks, id)
	}
	r.mu.Unlock()
	s := status.Convert(err)
	return r.send(&observev1.Answer{Id: id, What: &observev1.Answer_End{End: &observev1.End{Code: int32(s.Code()), Message: s.Message()}}})
}

func (r *report) answer(ctx context.Context, id uint64, q *observev1.Ask, a *asked) error {
	switch w := q.GetWhat().(type) {
	case *observev1.Ask_Status:
		return r.send(&observev1.Answer{Id: id, What: &observev1.Answer_Status{Status: r.o.Status()}})
	case *observev1.Ask_Namespaces:
		return r.send(&observev1.Answer{Id: id, What: &observev1.Answer_Namespaces{Namespaces: r.o.namespaceList()}})
	case *observev1.Ask_Flows:
		scope := &filter.Scope{All: q.GetScope().GetAll(), Namespaces: q.GetScope().GetNamespaces()}
		return r.o.observe(ctx, w.Flows, scope, func(m *observer.GetFlowsResponse) error {
			if err := a.credit.take(ctx); err != nil {
				return err
			}
			return r.send(&observev1.Answer{Id: id, What: &observev1.Answer_Flow{Flow: m}})
		}, func() error {
			return r.send(&observev1.Answer{Id: id, What: &observev1.Answer_Past{Past: &observev1.Past{}}})
		})
	}
	return status.Error(codes.Unimplemented, fmt.Sprintf("%T is not known to this agent", q.GetWhat()))
}

// credit is how much may be sent.
type credit struct {
	mu   sync.Mutex // guards what follows
	n    uint64
	more chan struct{} // closed when n grows; nil when nobody waits
}

func newCredit(n uint32) *credit { return &credit{n: uint64(n)} }

func (c *credit) add(n uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += uint64(n)
	if c.more != nil {
		close(c.more)
		c.more = nil
	}
}

// take waits until something may be sent.
func (c *credit) take(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.n > 0 {
			c.n--
			c.mu.Unlock()
			return nil
		}
		if c.more == nil {
			c.more = make(chan struct{})
		}
		more := c.more
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-more:
		}
	}
}
