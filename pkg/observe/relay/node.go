package relay

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	observev1 "fairlead.io/fairlead/api/observe/v1"
)

// node is the stream of an agent.
type node struct {
	name, version string
	stream        grpc.BidiStreamingServer[observev1.Answer, observev1.Question]
	gone          context.Context
	leave         context.CancelFunc

	// questions are on their way. There is no waiting: an agent that does not read is wrong, and would hold up every observer.
	questions chan *observev1.Question

	mu   sync.Mutex // guards what follows
	asks map[uint64]chan *observev1.Answer
	next uint64
}

// answers is where the answers to one question come from: a node, or another replica.
type answers struct {
	name string
	// next gives an answer; io.EOF after the last, a gRPC status for one that failed.
	next func(ctx context.Context) (*observev1.Answer, error)
	// end says that no more are wanted.
	end func()
}

// window is how many flows may be on their way for one question to one of n nodes: what all of them have in memory is bounded.
func window(n int) uint32 { return uint32(min(max(2048/max(n, 1), 4), 64)) }

// room is for what comes besides flows.
const room = 4

// maxQuestions is how many messages may be on their way to a node.
const maxQuestions = 1024

func (n *node) send(q *observev1.Question) error {
	select {
	case n.questions <- q:
		return nil
	default:
		n.leave()
		return status.Errorf(codes.Unavailable, "the agent of node %s does not read", n.name)
	}
}

// transmit sends questions until the node has gone.
func (n *node) transmit() error {
	for {
		select {
		case <-n.gone.Done():
			return nil
		case q := <-n.questions:
			if err := n.stream.Send(q); err != nil {
				return err
			}
		}
	}
}

// ask puts a question.
func (n *node) ask(q *observev1.Ask, credit uint32) (*answers, error) {
	c := make(chan *observev1.Answer, credit+room)
	n.mu.Lock()
	n.next++
	id := n.next
	n.asks[id] = c
	n.mu.Unlock()
	q = &observev1.Ask{What: q.GetWhat(), Scope: q.GetScope(), Credit: credit}
	if err := n.send(&observev1.Question{Id: id, What: &observev1.Question_Ask{Ask: q}}); err != nil {
		n.forget(id)
		return nil, err
	}
	read := uint32(0)
	next := func(ctx context.Context) (*observev1.Answer, error) {
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-n.gone.Done():
			return nil, status.Errorf(codes.Unavailable, "the agent of node %s has gone", n.name)
		case a := <-c:
			switch w := a.GetWhat().(type) {
			case *observev1.Answer_End:
				if w.End.GetCode() == 0 {
					return nil, io.EOF
				}
				return nil, status.Error(codes.Code(w.End.GetCode()), w.End.GetMessage())
			case *observev1.Answer_Flow:
				if read++; read >= max(credit/2, 1) {
					_ = n.send(&observev1.Question{Id: id, What: &observev1.Question_Credit{Credit: read}}) // when it fails, gone says so
					read = 0
				}
			}
			return a, nil
		}
	}
	return &answers{name: n.name, next: next, end: func() {
		if n.forget(id) {
			_ = n.send(&observev1.Question{Id: id, What: &observev1.Question_End{End: &observev1.End{}}})
		}
	}}, nil
}

// forget drops a question; false when it has been answered.
func (n *node) forget(id uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.asks[id]
	delete(n.asks, id)
	return ok
}

// deliver passes an answer on. It never waits: a node that sends more than it may is wrong.
func (n *node) deliver(a *observev1.Answer) error {
	n.mu.Lock()
	c, ok := n.asks[a.GetId()]
	if a.GetEnd() != nil {
		delete(n.asks, a.GetId())
	}
	n.mu.Unlock()
	if !ok {
		return nil // not wanted any more
	}
	select {
	case c <- a:
		return nil
	default:
		return status.Error(codes.ResourceExhausted, "more flows were sent than were asked for")
	}
}

type flowsServer struct {
	observev1.UnimplementedFlowsServer
	r *Relay
}

// Report implements observev1.FlowsServer.
func (s flowsServer) Report(stream grpc.BidiStreamingServer[observev1.Answer, observev1.Question]) error {
	name, err := s.r.cfg.Caller(stream.Context())
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return status.Error(codes.InvalidArgument, "the first message is no Hello")
	}
	n := &node{name: name, version: hello.GetVersion(), stream: stream, asks: map[uint64]chan *observev1.Answer{}, questions: make(chan *observev1.Question, maxQuestions)}
	n.gone, n.leave = context.WithCancel(stream.Context())
	s.r.join(n)
	defer s.r.leave(n)
	failed := make(chan error, 2)
	go func() { failed <- n.receive() }() // both end with the stream
	go func() { failed <- n.transmit() }()
	select {
	case err := <-failed:
		return err
	case <-s.r.draining:
		return errDraining
	case <-n.gone.Done():
		return status.Error(codes.Unavailable, "the stream has ended, or the node has opened another one")
	}
}

// receive delivers what the node sends.
func (n *node) receive() error {
	for {
		a, err := n.stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := n.deliver(a); err != nil {
			return err
		}
	}
}

// replicaKey is metadata of a Gather: which replica asks.
const replicaKey = "fairlead-replica"

// Gather implements observev1.FlowsServer: it answers another replica, which has seen to what the observer may see. Where a replica
// has been told its own address as another's, it asks itself, and gets nothing twice.
func (s flowsServer) Gather(ask *observev1.Ask, stream grpc.ServerStreamingServer[observev1.Answer]) error {
	if from := metadata.ValueFromIncomingContext(stream.Context(), replicaKey); len(from) > 0 && from[0] == s.r.cfg.Name {
		return nil
	}
	return s.r.gather(stream.Context(), ask, false, stream.Send)
}
