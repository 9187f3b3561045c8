package barrier

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	barrierv1 "fairlead.io/fairlead/api/barrier/v1"
	"fairlead.io/fairlead/pkg/model"
)

// chunk bounds the objects and clients of one message.
const chunk = 500

// feed is what one peer has yet to be told of this replica: names, whose values are looked up when they are sent, so a slow
// peer gets the latest and nothing piles up. Barrier.mu guards the sets.
type feed struct {
	wake    chan struct{}
	objects map[model.Ref]struct{}
	clients map[uint64]struct{}
}

func (f *feed) object(ref model.Ref) { f.objects[ref] = struct{}{}; f.nudge() }
func (f *feed) client(id uint64)     { f.clients[id] = struct{}{}; f.nudge() }

func (f *feed) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Register adds the service to a gRPC server.
func (b *Barrier) Register(r grpc.ServiceRegistrar) { barrierv1.RegisterBarrierServer(r, b) }

// Follow implements barrierv1.BarrierServer.
func (b *Barrier) Follow(req *barrierv1.FollowRequest, out grpc.ServerStreamingServer[barrierv1.Summary]) error {
	f := b.feed()
	defer b.unfeed(f)
	b.log.Debug("a replica follows", "replica", req.GetReplica())
	first := true
	for {
		leaving := false
		select {
		case <-b.leaving:
			leaving = true
			b.look() // the clients that have gone already
		default:
		}
		list := b.take(f)
		if first {
			list[0].Replica, list[0].Build = b.cfg.Name, b.cfg.Build
			list[len(list)-1].Whole = true
			first = false
		}
		for _, m := range list {
			if m.Replica == "" && !m.Whole && len(m.Objects)+len(m.Clients) == 0 {
				continue
			}
			if err := out.Send(m); err != nil {
				return err
			}
		}
		if leaving {
			return status.Error(codes.Aborted, "replica is shutting down")
		}
		select {
		case <-out.Context().Done():
			return status.FromContextError(out.Context().Err()).Err()
		case <-b.leaving:
		case <-f.wake:
		}
	}
}

// feed begins with everything.
func (b *Barrier) feed() *feed {
	f := &feed{wake: make(chan struct{}, 1), objects: map[model.Ref]struct{}{}, clients: map[uint64]struct{}{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	for ref := range b.own.rows {
		f.objects[ref] = struct{}{}
	}
	for id := range b.own.clients {
		f.clients[id] = struct{}{}
	}
	b.feeds[f] = struct{}{}
	return f
}

func (b *Barrier) unfeed(f *feed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.feeds, f)
}

// take makes messages of what is to be told; at least one. Objects come before clients, so that nobody seems to be through
// with what is not known to have changed.
func (b *Barrier) take(f *feed) []*barrierv1.Summary {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &barrierv1.Summary{}
	list := []*barrierv1.Summary{m}
	room := func() {
		if len(m.Objects)+len(m.Clients) == chunk {
			m = &barrierv1.Summary{}
			list = append(list, m)
		}
	}
	objects := make([]*barrierv1.Object, 0, len(f.objects))
	for ref := range f.objects {
		objects = append(objects, objectOf(ref, b.own.rows[ref]))
	}
	slices.SortFunc(objects, func(a, b *barrierv1.Object) int { return cmp.Compare(a.Changed, b.Changed) })
	for _, o := range objects {
		room()
		m.Objects = append(m.Objects, o)
	}
	for id := range f.clients {
		room()
		m.Clients = append(m.Clients, clientOf(id, b.own.clients[id]))
	}
	clear(f.objects)
	clear(f.clients)
	return list
}

func objectOf(ref model.Ref, r *row) *barrierv1.Object {
	o := &barrierv1.Object{Group: ref.Group, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
	if r == nil {
		o.Gone = true
		return o
	}
	o.Uid, o.Generation, o.Digest, o.Changed, o.MoreRejected = r.uid, r.generation, r.digest, r.changed, uint32(r.more)
	for _, j := range r.rejected {
		o.Rejected = append(o.Rejected, &barrierv1.Rejection{
			Node: j.Node, Version: j.Version, Type: j.Type, Resource: j.Resource, Message: j.Message,
		})
	}
	return o
}

func rowOf(o *barrierv1.Object) *row {
	r := &row{
		ref: refOf(o), uid: o.GetUid(), generation: o.GetGeneration(), digest: o.GetDigest(), changed: o.GetChanged(),
		more: int(o.GetMoreRejected()),
	}
	for _, j := range o.GetRejected() {
		r.rejected = append(r.rejected, Rejection{
			Node: j.GetNode(), Version: j.GetVersion(), Type: j.GetType(), Resource: j.GetResource(), Message: j.GetMessage(),
		})
	}
	return r
}

func refOf(o *barrierv1.Object) model.Ref {
	return model.Ref{Group: o.GetGroup(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

func clientOf(id uint64, c *client) *barrierv1.Client {
	if c == nil || !c.gone.IsZero() {
		return &barrierv1.Client{Id: id, Gone: true}
	}
	return &barrierv1.Client{Id: id, Node: c.Node, Agent: c.Agent, Connected: c.Connected.UnixNano(), Settled: c.Settled}
}

func streamOf(c *barrierv1.Client) *client {
	return &client{Client: Client{ID: c.GetId(), Node: c.GetNode(), Agent: c.GetAgent(), Connected: time.Unix(0, c.GetConnected()), Settled: c.GetSettled()}}
}
