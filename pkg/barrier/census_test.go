package barrier

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// agent opens a stream of a node's agent.
func (g *rig) agent(node string) {
	g.ids++
	g.streams[node+"+agent"] = Client{ID: g.ids, Node: node, Agent: true, Connected: time.Now()}
}

// census says of each client "name", "name*" when it is through, and "name?" when it is not connected; then who is absent, and
// what replicas keep.
func (g *rig) census(generation int64) (out []string) {
	g.look()
	c := g.Census([]model.Ref{vs("x")}, generation)
	for _, a := range c.Clients {
		name := party{a.Node, a.Agent}.String()
		if a.Through {
			name += "*"
		}
		if !a.Connected {
			name += "?"
		}
		out = append(out, name)
	}
	for _, a := range c.Absent {
		out = append(out, "absent "+party{a.Node, a.Agent}.String())
	}
	out = append(out, c.Replicas...)
	if !c.Known {
		out = append(out, "unknown")
	}
	return out
}

func (g *rig) wantCensus(generation int64, want ...string) {
	g.t.Helper()
	if got := g.census(generation); !slices.Equal(got, want) {
		g.t.Errorf("census of %d: %q, want %q", generation, got, want)
	}
}

// TestAgentsAreCountedApart has an agent and an Envoy of one node, with one name: neither speaks for the other.
func TestAgentsAreCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, "a")
		g.edit("x", "u", 1, "one")
		g.connect("n1")
		g.agent("n1")
		g.wantCensus(1, "n1", "n1 (agent)")
		g.ack("n1")
		g.want("x", Joining, []string{"n1 (agent)"})
		g.wantCensus(1, "n1*", "n1 (agent)")
		g.ack("n1+agent")
		g.want("x", Through, nil)
		g.wantCensus(1, "n1*", "n1 (agent)*")
		if _, f := g.Get(vs("x")); f.Clients != 1 {
			t.Errorf("%d nodes, want one: its agent is not another", f.Clients)
		}

		g.edit("x", "u", 2, "two")
		g.ack("n1")
		g.want("x", Behind, []string{"n1 (agent)"})
		g.wantCensus(2, "n1*", "n1 (agent)")
	})
}

// TestCensus follows an agent that goes, and a replica that is behind.
func TestCensus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRig(t, "a"), newRig(t, "b")
		b.followedBy(a)
		a.wantCensus(1, "replica a has not read it yet", "replica b has not read it yet", "unknown")
		a.edit("x", "u", 1, "one")
		a.wantCensus(1, "replica b has not read it yet")
		b.edit("x", "u", 1, "one")
		b.agent("n1")
		b.sync()
		a.wantCensus(1, "n1 (agent)")
		b.ack("n1+agent")
		b.sync()
		a.wantCensus(1, "n1 (agent)*")
		a.wantCensus(2, "n1 (agent)", "replica a has not read it yet", "replica b has not read it yet", "unknown")

		a.edit("x", "u", 2, "two")
		a.wantCensus(2, "n1 (agent)", "replica b has not read it yet")
		b.edit("x", "u", 2, "two")
		b.sync()
		a.wantCensus(2, "n1 (agent)")
		b.ack("n1+agent")
		b.sync()
		a.wantCensus(2, "n1 (agent)*")

		b.refusing = []Refusal{{Origins: vsList("x"), Rejection: Rejection{Type: clusterType, Resource: "x", Node: "n1", Message: "no"}}}
		b.sync()
		a.wantCensus(2, "n1 (agent)")
		if c := a.Census(vsList("x"), 2); c.Clients[0].Rejected != "no" {
			t.Errorf("rejected with %q, want its words", c.Clients[0].Rejected)
		}
		b.refusing = nil
		b.sync()
		a.wantCensus(2, "n1 (agent)*")

		b.disconnect("n1+agent")
		b.sync()
		a.wantCensus(2, "n1 (agent)*?")
		time.Sleep(31 * time.Second)
		a.wantCensus(2, "absent n1 (agent)")
		if got := fmt.Sprint(a.Absent()[0].Agent); got != "true" {
			t.Errorf("absent: agent %s", got)
		}

		b.cut(false)
		a.wantCensus(2, "absent n1 (agent)", "replica b cannot be reached")
	})
}

// TestCensusSeeksReplicas: a replica that came a moment ago may serve nodes of which nobody here knows. Two looks for others must
// have ended since this replica has the generation, as the first may have begun before.
func TestCensusSeeksReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const unsought = "other replicas have not been looked for since this one has it"
		g := newRig(t, "a")
		g.cfg.Seeks = true
		g.edit("x", "u", 1, "one")
		g.SetPeers(nil)
		g.SetPeers(nil)
		g.wantCensus(1, unsought)
		g.SetPeers(nil)
		g.wantCensus(1, unsought)
		g.SetPeers(nil)
		g.wantCensus(1)
		g.edit("x", "u", 2, "two")
		g.wantCensus(2, unsought)
	})
}
