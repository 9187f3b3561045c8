package relay

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/api/observe/relay"
	observev1 "fairlead.io/fairlead/api/observe/v1"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// gathering is one question to all nodes.
type gathering struct {
	r     *Relay
	ask   *observev1.Ask
	send  func(*observev1.Answer) error
	mu    sync.Mutex // of send
	scope *filter.Scope
}

// gather asks the nodes that are here, and with replicas the others' too, and sends what they answer: kept flows in order, a Past,
// then new ones. Nodes that come later are asked too.
func (r *Relay) gather(ctx context.Context, ask *observev1.Ask, replicas bool, send func(*observev1.Answer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer func() { cancel(); running.Wait() }()
	g := &gathering{r: r, ask: ask, send: send, scope: &filter.Scope{All: ask.GetScope().GetAll(), Namespaces: ask.GetScope().GetNamespaces()}}
	nodes, changed := r.connected()
	var from []*answers
	for _, n := range nodes {
		if a, err := n.ask(ask, window(len(nodes))); err == nil {
			from = append(from, a)
		}
	}
	if replicas {
		for _, c := range r.cfg.Replicas() {
			from = append(from, askReplica(metadata.AppendToOutgoingContext(ctx, replicaKey, r.cfg.Name), c, ask, &running))
		}
	}
	defer func() {
		for _, a := range from {
			a.end()
		}
	}()
	req := ask.GetFlows()
	if req == nil {
		return g.each(ctx, from)
	}
	following, err := g.past(ctx, from, req)
	if err != nil || !req.GetFollow() {
		return err
	}
	if err := g.pass(&observev1.Answer{What: &observev1.Answer_Past{Past: &observev1.Past{}}}); err != nil {
		return err
	}
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	known := map[*node]bool{}
	for _, n := range nodes {
		known[n] = true
	}
	for _, a := range following {
		running.Go(func() { g.follow(ctx, a, fail) })
	}
	for {
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case err := <-failed:
			return err
		case <-changed:
		}
		nodes, changed = r.connected()
		for _, n := range nodes {
			if known[n] {
				continue
			}
			known[n] = true
			running.Go(func() { g.newcomer(ctx, n, len(nodes), fail) })
		}
	}
}

// askReplica asks another replica, and reads until ctx ends.
func askReplica(ctx context.Context, c observev1.FlowsClient, ask *observev1.Ask, running *sync.WaitGroup) *answers {
	type got struct {
		m   *observev1.Answer
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	read := make(chan got)
	running.Go(func() {
		stream, err := c.Gather(ctx, ask)
		for {
			var m *observev1.Answer
			if err == nil {
				m, err = stream.Recv()
			}
			select {
			case <-ctx.Done():
				return
			case read <- got{m, err}:
			}
			if err != nil {
				return
			}
		}
	})
	return &answers{name: "of another replica", end: cancel, next: func(ctx context.Context) (*observev1.Answer, error) {
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case g := <-read:
			return g.m, g.err
		}
	}}
}

// pass sends an answer, of which nothing is in that the observer may not see.
func (g *gathering) pass(a *observev1.Answer) error {
	if m := a.GetFlow(); m.GetFlow() != nil && !g.scope.All {
		f := g.scope.Show(m.GetFlow())
		if f == nil {
			return nil
		}
		m = proto.CloneOf(m)
		m.ResponseTypes = &observer.GetFlowsResponse_Flow{Flow: f}
		a = &observev1.Answer{What: &observev1.Answer_Flow{Flow: m}}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.send(a)
}

// each passes on all that is answered, in no order.
func (g *gathering) each(ctx context.Context, from []*answers) error {
	for _, a := range from {
		for {
			late, cancel := context.WithTimeout(ctx, g.r.cfg.Patience)
			m, err := a.next(late)
			cancel()
			if err != nil {
				if ctx.Err() != nil {
					return status.FromContextError(ctx.Err()).Err()
				}
				break // it is told elsewhere which nodes answer
			}
			if err := g.pass(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow passes on what a node answers from now on.
func (g *gathering) follow(ctx context.Context, a *answers, fail func(error)) {
	defer a.end()
	for {
		m, err := a.next(ctx)
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			if m.GetPast() != nil {
				continue
			}
			err = g.pass(m)
			if err != nil {
				fail(err)
				return
			}
			continue
		}
		if err := g.state(relay.NodeState_NODE_UNAVAILABLE, status.Convert(err).Message(), a.name); err != nil {
			fail(err)
		}
		return
	}
}

// newcomer asks a node that has come while others are followed.
func (g *gathering) newcomer(ctx context.Context, n *node, nodes int, fail func(error)) {
	req := proto.CloneOf(g.ask.GetFlows())
	req.Number, req.Since = 0, nil
	a, err := n.ask(&observev1.Ask{What: &observev1.Ask_Flows{Flows: req}, Scope: g.ask.GetScope()}, window(nodes))
	if err != nil {
		return // it has gone again
	}
	if err := g.state(relay.NodeState_NODE_CONNECTED, "", n.name); err != nil {
		a.end()
		fail(err)
		return
	}
	g.follow(ctx, a, fail)
}

// state tells of nodes.
func (g *gathering) state(s relay.NodeState, why string, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return g.pass(&observev1.Answer{What: &observev1.Answer_Flow{Flow: &observer.GetFlowsResponse{
		Time: now(), ResponseTypes: &observer.GetFlowsResponse_NodeStatus{NodeStatus: &relay.NodeStatusEvent{StateChange: s, NodeNames: names, Message: why}},
	}}})
}

// head is the next kept flow of one place.
type head struct {
	*answers
	m *observer.GetFlowsResponse
}

func (h head) time() time.Time { return h.m.GetTime().AsTime() }

// errFollows ends what was kept.
var errFollows = errors.New("what was kept has been sent")

// read gives the next kept flow. A place that is silent for too long is given up.
func (g *gathering) read(ctx context.Context, a *answers) (head, error) {
	late, cancel := context.WithTimeout(ctx, g.r.cfg.Patience)
	defer cancel()
	for {
		m, err := a.next(late)
		switch {
		case err != nil && ctx.Err() == nil && late.Err() != nil:
			return head{}, status.Errorf(codes.DeadlineExceeded, "no answer for %s", g.r.cfg.Patience)
		case err != nil:
			return head{}, err
		case m.GetPast() != nil:
			return head{}, errFollows
		case m.GetFlow() != nil:
			return head{a, m.GetFlow()}, nil
		}
	}
}
