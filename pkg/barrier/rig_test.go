package barrier

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

const clusterType = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

func vs(name string) model.Ref {
	return model.Ref{Group: "fairlead.io", Kind: "VirtualService", Namespace: "shop", Name: name}
}

// rig is one replica whose inputs and clients a test plays. Nothing runs: look takes in what was done.
type rig struct {
	t testing.TB
	*Barrier
	engine *table.Engine
	said   *table.Source[*model.ObjectStatus]
	source *snapshot.Static

	streams  map[string]Client // by node
	refusing []Refusal
	ids      uint64
	links    []*link
}

// link is how another replica follows this one.
type link struct {
	to   *rig
	feed *feed
	peer *peer
	row  *replica
}

func newRig(t testing.TB, name string) *rig {
	t.Helper()
	g := &rig{t: t, engine: table.New(table.Options{}), source: snapshot.NewStatic(), streams: map[string]Client{}}
	g.said = table.NewSource[*model.ObjectStatus](g.engine, "said")
	out := table.Publish(table.NewDerived(g.engine, "statuses", func(r *table.Reader, key string) (*model.ObjectStatus, bool) {
		return table.Get(r, g.said, key)
	}, []table.Trigger{g.said}))
	var err error
	g.Barrier, err = New(Config{Name: name, Engine: g.engine, Statuses: out, Source: g.source, Types: []string{clusterType}, Push: g})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *rig) Clients() (out []Client) {
	for _, c := range g.streams {
		out = append(out, c)
	}
	return out
}

func (g *rig) Refusals() []Refusal      { return g.refusing }
func (g *rig) Changed() <-chan struct{} { return nil }

// edit publishes an object and the one resource that is made of it; an empty text removes both.
func (g *rig) edit(name, uid string, generation int64, text string) {
	g.t.Helper()
	b := g.engine.NewBatch()
	key := "fairlead.io/VirtualService/" + vs(name).Key()
	if text == "" {
		g.said.Delete(b, key)
		g.source.Update(1, nil, snapshot.Key{Type: clusterType, Name: name})
	} else {
		g.said.Set(b, key, &model.ObjectStatus{Ref: vs(name), UID: uid, Generation: generation, Conditions: []model.Condition{{Type: "Accepted", Status: true}}})
		r, err := snapshot.Encode(name, &cluster.Cluster{Name: name, AltStatName: text}, 1, vs(name))
		if err != nil {
			g.t.Fatal(err)
		}
		g.source.Update(1, []*snapshot.Resource{r})
	}
	g.engine.Apply(b)
}

// many publishes n objects at once: o0, o1 …
func (g *rig) many(n int) {
	g.t.Helper()
	b := g.engine.NewBatch()
	var list []*snapshot.Resource
	for i := range n {
		ref := vs("o" + strconv.Itoa(i))
		g.said.Set(b, "fairlead.io/VirtualService/"+ref.Key(), &model.ObjectStatus{Ref: ref, UID: "u", Generation: 1, Conditions: []model.Condition{{Type: "Accepted", Status: true}}})
		r, err := snapshot.Encode(ref.Name, &cluster.Cluster{Name: ref.Name}, 1, ref)
		if err != nil {
			g.t.Fatal(err)
		}
		list = append(list, r)
	}
	g.source.Update(1, list)
	g.engine.Apply(b)
}

// says publishes that an object is accepted or not, without contents.
func (g *rig) says(name string, ok bool, reason, message string) {
	b := g.engine.NewBatch()
	g.said.Set(b, "fairlead.io/VirtualService/"+vs(name).Key(), &model.ObjectStatus{
		Ref: vs(name), UID: "u1", Generation: 1, Conditions: []model.Condition{{Type: "Accepted", Status: ok, Reason: reason, Message: message}},
	})
	g.engine.Apply(b)
}

// also publishes a namesake of another group, of which nothing is said.
func (g *rig) also(name, group string) {
	b := g.engine.NewBatch()
	ref := vs(name)
	ref.Group = group
	g.said.Set(b, group+"/VirtualService/"+ref.Key(), &model.ObjectStatus{Ref: ref, UID: "u1", Generation: 1})
	g.engine.Apply(b)
}

func vsList(name string) []model.Ref { return []model.Ref{vs(name)} }

// connect opens a stream of a node, which has acknowledged nothing.
func (g *rig) connect(node string) {
	g.ids++
	g.streams[node] = Client{ID: g.ids, Node: node, Connected: time.Now()}
}

// ack lets nodes settle the newest state.
func (g *rig) ack(nodes ...string) {
	for _, node := range nodes {
		c := g.streams[node]
		c.Settled = g.source.Latest().Seq()
		g.streams[node] = c
	}
}

func (g *rig) disconnect(node string) { delete(g.streams, node) }

// followedBy lets another replica follow this one.
func (g *rig) followedBy(to *rig) *link {
	g.t.Helper()
	g.look()
	l := &link{to: to, feed: g.feed(), peer: newPeer(g.cfg.Name, true), row: newReplica(g.cfg.Name, "")}
	to.peers[g.cfg.Name] = l.peer
	for _, m := range g.take(l.feed) {
		l.row.fill(m)
	}
	if err := to.join(l.peer, l.row); err != nil {
		g.t.Fatal(err)
	}
	g.links = append(g.links, l)
	return l
}

// sync takes in everything, here and at all that follow.
func (g *rig) sync() {
	g.look()
	for _, l := range g.links {
		list := g.take(l.feed)
		l.to.mu.Lock()
		for _, m := range list {
			l.to.apply(l.row, m)
		}
		l.to.settle(time.Now())
		l.to.mu.Unlock()
		l.to.look()
	}
}

// cut ends the stream to those that follow.
func (g *rig) cut(polite bool) {
	err := errors.New("broken")
	if polite {
		err = status.Error(codes.Aborted, "leaving")
	}
	for _, l := range g.links {
		g.unfeed(l.feed)
		l.to.lose(l.peer, err)
	}
	g.links = nil
}

// want checks how an object fares here, and who is behind and absent.
func (g *rig) want(name string, p Progress, behind []string, absent ...string) {
	g.t.Helper()
	g.look()
	_, f := g.Get(vs(name))
	if f.Progress != p {
		g.t.Errorf("%s: progress %d, want %d (clients %d)", name, f.Progress, p, f.Clients)
	}
	for _, n := range g.All() {
		if n.Status.Ref == vs(name) && !slices.Equal(n.Behind, behind) {
			g.t.Errorf("%s: behind are %q, want %q", name, n.Behind, behind)
		}
	}
	var names []string
	for _, a := range g.Absent() {
		names = append(names, a.Node)
	}
	if !slices.Equal(names, absent) {
		g.t.Errorf("absent are %q, want %q", names, absent)
	}
}

// touched gives the names of the objects that a watch is told of.
func touched(w *Watch) (names []string, all bool) {
	refs, all := w.Take()
	for _, r := range refs {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names, all
}
