package rotate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// TestNobodyIsLeftBehind plays random commands, acknowledgements, restarts, changes of leaders and of clocks: no authority signs
// that a node does not trust, and none is dropped that has a valid certificate. At the end everything comes to rest.
func TestNobodyIsLeftBehind(t *testing.T) {
	reached := map[authority.Stage]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(3)
		ctx := context.Background()
		replica := func(t *rapid.T) *peer { return w.replicas[rapid.IntRange(0, 2).Draw(t, "replica")] }
		running := func(t *rapid.T) *peer {
			p := replica(t)
			if !p.up {
				t.Skip("it is down")
			}
			return p
		}
		node := func(t *rapid.T) *member {
			name := fmt.Sprintf("n%d", rapid.IntRange(0, 3).Draw(t, "node"))
			if w.nodes[name] == nil {
				w.nodes[name] = &member{name: name}
			}
			return w.nodes[name]
		}
		without := func(t *rapid.T) []string {
			return rapid.SliceOfN(rapid.SampledFrom([]string{"n0", "n1", "n2", "n3"}), 0, 1).Draw(t, "without")
		}
		step := func(p *peer) {
			for range 3 {
				if took, _ := p.machine.step(ctx); !took {
					return
				}
			}
		}
		catchUp := func(t *rapid.T) {
			for _, p := range w.replicas {
				if p.up {
					p.follow()
				}
			}
			for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
				if n := w.nodes[name]; n.at != nil && rapid.IntRange(0, 9).Draw(t, "shown") > 0 {
					n.shown()
				}
			}
			step(running(t))
		}
		t.Repeat(map[string]func(*rapid.T){
			"catch up": catchUp, "catch up again": catchUp, "and again": catchUp,
			"connect": func(t *rapid.T) {
				n, p := node(t), running(t)
				if n.at == nil || n.at != p {
					n.at, n.acked = p, 0
				}
				// A control plane that goes away in the seconds before the roster is saved forgets the node.
				w.pass(followUp + time.Second)
				for _, p := range w.replicas {
					if p.up {
						step(p)
					}
				}
			},
			"shown": func(t *rapid.T) {
				if n := node(t); n.at != nil {
					n.shown()
				}
			},
			"leave":  func(t *rapid.T) { node(t).leave(w.now) },
			"follow": func(t *rapid.T) { running(t).follow() },
			"step":   func(t *rapid.T) { step(running(t)) },
			"sign": func(t *rapid.T) {
				running(t).sign(time.Duration(rapid.IntRange(5, int(longest/time.Minute)).Draw(t, "ttl")) * time.Minute)
			},
			"lead": func(t *rapid.T) { p := replica(t); p.leads = !p.leads },
			"restart": func(t *rapid.T) {
				p := replica(t)
				p.stop()
				if rapid.Bool().Draw(t, "at once") {
					p.start()
				}
			},
			"start": func(t *rapid.T) {
				if p := replica(t); !p.up {
					p.start()
				}
			},
			"time": func(t *rapid.T) {
				w.pass(time.Duration(rapid.SampledFrom([]int{1, 7, 30, 61, 400, 1000, 1500, 10000}).Draw(t, "minutes")) * time.Minute)
			},
			"rotate": func(t *rapid.T) { _ = running(t).machine.Rotate(ctx, without(t)) },
			"pause":  func(t *rapid.T) { _ = running(t).machine.Pause(ctx) },
			"resume": func(t *rapid.T) { _ = running(t).machine.Resume(ctx, without(t)) },
			"abort":  func(t *rapid.T) { _ = running(t).machine.Abort(ctx) },
			"mount": func(t *rapid.T) {
				_, _ = running(t).Update(ctx, func(s authority.State) (authority.State, error) {
					if s.Rotation.Stage != authority.Stable || len(s.Generations) > 2 {
						return s, errMoved
					}
					s.Generations = append(slices.Clone(s.Generations), w.generate(authority.Mounted))
					s.Sequence++
					return s, nil
				})
			},
			"": func(t *rapid.T) {
				if err := w.check(); err != nil {
					t.Fatal(err)
				}
				s, _, _ := w.store.Load(ctx)
				reached[s.Rotation.Stage]++
			},
		})
		rest(t, w, step)
	})
	for _, s := range stages() {
		if reached[s] == 0 {
			t.Errorf("stage %s was never reached: the test shows nothing of it", title(s))
		}
	}
	t.Log(reached)
}

// rest lets everybody do what they should, and expects that the rotation ends.
func rest(t *rapid.T, w *world, step func(*peer)) {
	for _, p := range w.replicas {
		if !p.up {
			p.start()
		}
		p.leads = true
	}
	_ = w.replicas[0].machine.Resume(context.Background(), nil)
	var s authority.State
	for range 60 {
		for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
			if n := w.nodes[name]; n.at != nil {
				n.shown()
			}
		}
		for _, p := range w.replicas {
			p.follow()
			step(p)
		}
		w.pass(time.Hour)
		if err := w.check(); err != nil {
			t.Fatal(err)
		}
		if s, _, _ = w.store.Load(context.Background()); s.Rotation.Stage == authority.Stable && due(&s, w.now) == nil {
			return
		}
	}
	status := w.replicas[0].machine.Status()
	t.Fatalf("the rotation does not end: %+v", status)
}

func due(s *authority.State, now time.Time) *authority.Generation { return mounted(s, now) }
