package push

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"fairlead.io/fairlead/pkg/snapshot"
)

// TestSotWConverges runs random histories of edits, subscriptions, acknowledgements that come late and rejections. When
// nothing moves any more, a client that follows the protocol has what the snapshot holds of what it asked for, with the
// last good content where it rejects the latest.
func TestSotWConverges(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, r *rig) {
				h := &history{t: t, r: r, rnd: rand.New(rand.NewPCG(seed, 1)), c: r.world("n"), want: map[string]map[string]string{}}
				h.run()
			})
		})
	}
}

// history is one random run: want is what the snapshot holds by type and name, has what the client has, last what it
// answers with.
type history struct {
	t    *testing.T
	r    *rig
	rnd  *rand.Rand
	c    *worldClient
	want map[string]map[string]string
	has  map[string]map[string]string
	last map[string]*discovery.DiscoveryResponse
	pos  uint64
}

func (h *history) run() {
	h.has, h.last = map[string]map[string]string{}, map[string]*discovery.DiscoveryResponse{}
	types := []string{clusterType, endpointType}
	for _, url := range types {
		h.want[url], h.has[url] = map[string]string{}, map[string]string{}
	}
	h.edit()
	for range 40 {
		switch h.rnd.IntN(4) {
		case 0, 1:
			h.edit()
		case 2:
			h.subscribe(types[h.rnd.IntN(2)])
		case 3:
			h.answer(1)
		}
		if h.rnd.IntN(2) == 0 {
			synctest.Wait()
		}
	}
	for _, url := range types {
		h.subscribe(url)
	}
	for range 5 { // the server stops waiting for what does not come after some seconds
		h.answer(1 << 20)
		time.Sleep(h.r.srv.cfg.Hold)
	}
	for _, url := range types {
		h.check(url)
	}
}

func (h *history) edit() {
	url := []string{clusterType, endpointType}[h.rnd.IntN(2)]
	name := "r" + strconv.Itoa(h.rnd.IntN(5))
	h.pos++
	if h.rnd.IntN(4) == 0 {
		delete(h.want[url], name)
		h.r.src.Update(h.pos, nil, snapshot.Key{Type: url, Name: name})
		return
	}
	text := strconv.FormatUint(h.pos, 10)
	if url == clusterType && h.rnd.IntN(5) == 0 {
		text = "bad" + text
	}
	h.want[url][name] = text
	h.r.src.Update(h.pos, []*snapshot.Resource{res(h.t, url, name, text, h.pos)})
}

// subscribe asks for all clusters, or for some names.
func (h *history) subscribe(url string) {
	names := []string{"r0"}
	for i := 1; i < 5; i++ {
		if h.rnd.IntN(2) == 0 {
			names = append(names, "r"+strconv.Itoa(i))
		}
	}
	if url == clusterType && h.rnd.IntN(2) == 0 {
		names = []string{"*"}
	}
	for name := range h.has[url] {
		if !slices.Contains(names, name) && names[0] != "*" {
			delete(h.has[url], name) // a client forgets what it gave up
		}
	}
	h.c.subscribe(url, h.last[url], names...)
}

// answer takes up to n responses, as a client that applies all of one or nothing.
func (h *history) answer(n int) {
	for range n {
		synctest.Wait()
		select {
		case m := <-h.c.got:
			h.take(m)
		default:
			return
		}
	}
}

func (h *history) take(m *discovery.DiscoveryResponse) {
	h.last[m.TypeUrl] = m
	got := map[string]string{}
	for _, part := range strings.Fields(h.c.show(m))[1:] {
		name, text, _ := strings.Cut(part, "=")
		if _, twice := got[name]; twice {
			h.t.Errorf("%s is twice in a response", name)
		}
		got[name] = text
	}
	for name, text := range got {
		if strings.HasPrefix(text, "bad") {
			h.c.nack(m, name+" is bad")
			return
		}
	}
	if whole(m.TypeUrl) {
		h.has[m.TypeUrl] = map[string]string{}
	}
	for name, text := range got {
		if slices.Contains(h.c.names[m.TypeUrl], name) || slices.Contains(h.c.names[m.TypeUrl], "*") {
			h.has[m.TypeUrl][name] = text
		}
	}
	h.c.ack(m)
}

// check compares what the client has with the snapshot. Of a name whose latest content is bad it may have an older one or
// none, never the bad one.
func (h *history) check(url string) {
	want := map[string]string{}
	for name, text := range h.want[url] {
		if slices.Contains(h.c.names[url], name) || slices.Contains(h.c.names[url], "*") {
			want[name] = text
		}
	}
	has := maps.Clone(h.has[url])
	for name, text := range has {
		if text == "" || strings.HasPrefix(want[name], "bad") && !strings.HasPrefix(text, "bad") {
			delete(has, name)
		}
	}
	maps.DeleteFunc(want, func(_, text string) bool { return strings.HasPrefix(text, "bad") })
	if fmt.Sprint(has) != fmt.Sprint(want) {
		h.t.Errorf("%s: the client has %v, want %v (names %v)", short(url), has, want, h.c.names[url])
	}
}
