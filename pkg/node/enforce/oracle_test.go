package enforce

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"fairlead.io/fairlead/pkg/verdict"
)

// places are the pods of this node that may be: some have one address, and are never there together.
var places = map[string][]netip.Addr{
	"u1": {netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00:1::7")},
	"u2": {netip.MustParseAddr("10.1.2.4")},
	"u3": {netip.MustParseAddr("10.1.2.3")},
}

// harness tells an Engine what a model is told, and compares them after every single write.
type harness struct {
	t        *testing.T
	r        *rand.Rand
	k        *memory
	e        *Engine
	file     string
	old, now *model
	also     []*model
	probes   []probe
	wants    [][]answer // by probe: what is right now
	crashed  bool
	writes   int
	what     string
}

func newHarness(t *testing.T, seed uint64) *harness {
	h := &harness{t: t, r: rand.New(rand.NewPCG(seed, 7)), k: newMemory(), file: filepath.Join(t.TempDir(), "names"), now: newModel()}
	h.start()
	return h
}

func (h *harness) start() {
	h.t.Helper()
	e, err := New(Config{Kernel: h.k, Node: thisNode, Names: h.file, Identities: 40, Sets: 30})
	if err != nil {
		h.t.Fatal(err)
	}
	h.e = e
}

// expect works out what may be answered while old becomes now.
func (h *harness) expect() {
	h.probes, h.wants = nil, nil
	for range 60 {
		p := h.probe()
		h.probes = append(h.probes, p)
		h.wants = append(h.wants, h.answers(p))
	}
}

// probe asks something about an address that is mostly somebody's, and ports at which rules begin and end.
func (h *harness) probe() probe {
	p := probe{uid: pick(h.r, []string{"u1", "u2"}), d: verdict.Direction(h.r.IntN(2)), protocol: pick(h.r, protocols), port: pick(h.r, edges)}
	p.remote = netip.MustParseAddr(pick(h.r, append(slices.Clone(someAddresses), nodeAddresses...)))
	if names := slices.Sorted(maps.Keys(h.now.peers)); len(names) > 0 && h.r.IntN(4) > 0 {
		p.remote = h.now.peers[pick(h.r, names)].Addresses[0]
	}
	switch h.r.IntN(4) {
	case 0:
		p.port = uint16(h.r.IntN(1 << 16))
	case 1:
		p.port += uint16(h.r.IntN(3)) - 1
	}
	return p
}

func (h *harness) answers(p probe) []answer {
	models := append([]*model{h.old, h.now}, h.also...)
	var out []answer
	for _, m := range models {
		at := p
		if at.uid = m.at(places[p.uid][0]); at.uid == "" {
			return nil // nobody is there before or after
		}
		out = append(out, m.judge(at, m.remote(p.remote)))
	}
	if h.old.at(places[p.uid][0]) != h.now.at(places[p.uid][0]) {
		out = append(out, answer{})
	}
	// The Set of one pod and the identity of another may change for one reason, one after the other.
	for _, a := range models {
		for _, b := range models {
			if at := a.at(p.remote); at != "" && a.has[at] != b.has[at] {
				q := p
				q.uid = a.at(places[p.uid][0])
				out = append(out, a.judge(q, b.remote(p.remote)))
			}
		}
	}
	return out
}

// at is the pod that is attached with an address.
func (m *model) at(a netip.Addr) string {
	for uid := range m.attached {
		if _, known := m.pods[uid]; known && slices.Contains(places[uid], a) {
			return uid
		}
	}
	return ""
}

// look compares the kernel's answers with those that are right at this moment.
func (h *harness) look() {
	h.writes++
	for i, p := range h.probes {
		if want := h.wants[i]; want != nil {
			got := h.kernel(p)
			if !slices.ContainsFunc(want, func(a answer) bool { return a.allowed == got.allowed }) ||
				!slices.ContainsFunc(want, func(a answer) bool { return a.network == got.network }) ||
				!slices.ContainsFunc(want, func(a answer) bool { return a.mesh == got.mesh }) {
				h.t.Fatalf("after write %d (%s): %+v is answered %+v, right are %+v\nold %s\nnow %s", h.writes, h.what, p, got, want, h.old, h.now)
			}
		}
	}
}

func (h *harness) kernel(p probe) answer {
	by := func(f verdict.Family) verdict.Decision {
		return h.k.judge(places[p.uid][0], p.d, f, p.remote, p.protocol, p.port)
	}
	return answer{by(verdict.Network).Allowed && by(verdict.Mesh).Allowed, by(verdict.NetworkAudit).Allowed, by(verdict.MeshAudit).Allowed}
}

// compare demands that everything is answered as by now, with the same rules.
func (h *harness) compare() {
	h.t.Helper()
	for range 40 {
		p := h.probe()
		at := p
		if at.uid = h.now.at(places[p.uid][0]); at.uid == "" {
			continue
		}
		to := h.now.remote(p.remote)
		for f := range verdict.Families {
			want := unknown
			if s := h.now.held[h.now.has[at.uid]]; s != nil {
				in := func(set, identity string) bool { return slices.Contains(h.now.peerSets[set], identity) }
				want = s.Judge(p.d, f, to, p.protocol, p.port, in)
			}
			if got := h.k.judge(places[p.uid][0], p.d, f, p.remote, p.protocol, p.port); got != want {
				h.t.Fatalf("at the end of "+h.what+": %+v in family %d is answered %+v, not %+v; it is %+v\n%s", p, f, got, want, h.k.addresses[p.remote], h.now)
			}
		}
	}
}

func (m *model) String() string {
	out := ""
	for _, n := range slices.Sorted(maps.Keys(m.pods)) {
		out += fmt.Sprintf("  pod %s %s has %s attached %v\n", n, m.pods[n].Identity, m.has[n], m.attached[n])
	}
	for _, n := range slices.Sorted(maps.Keys(m.peers)) {
		out += fmt.Sprintf("  peer %s %+v\n", n, m.peers[n])
	}
	for _, n := range slices.Sorted(maps.Keys(m.peerSets)) {
		out += fmt.Sprintf("  peer set %s %v\n", n, m.peerSets[n])
	}
	for _, n := range slices.Sorted(maps.Keys(m.held)) {
		out += fmt.Sprintf("  set of %s %+v\n", n, m.held[n])
	}
	return out
}

// batch changes the model, and has the Engine follow.
func (h *harness) batch(what string, change func(*model), tell func() error) {
	h.t.Helper()
	h.what = what
	h.old, h.now = h.now, h.now.clone()
	change(h.now)
	h.now.settle()
	h.expect()
	h.k.watch = h.look
	err := tell()
	for range 20 {
		if h.crashed || err == nil {
			break
		}
		if !errors.Is(err, errKernel) {
			h.t.Fatal(err)
		}
		err = h.e.again()
	}
	if h.crashed {
		h.restart()
	} else if err != nil {
		h.t.Fatal(err)
	}
	h.old = h.now
	h.compare()
	h.expect()
	if h.r.IntN(3) == 0 {
		if err := h.e.Collect(); err != nil && !errors.Is(err, errKernel) {
			h.t.Fatal(err)
		}
	}
}

// restart goes on with another Engine, which is told everything in any order.
func (h *harness) restart() {
	h.t.Helper()
	before := h.now
	h.what += ", restart"
	h.now = h.now.clone()
	for _, n := range h.now.wanted() {
		if h.now.peerSets[n] == nil {
			h.now.peerSets[n] = randomMembers(h.r)
		}
	}
	h.now.settle()
	h.also = []*model{before}
	h.expect()
	h.crashed, h.k.fail = false, nil
	h.start()
	all := h.now
	for uid := range all.attached {
		h.must(h.e.Attached(uid, 7, places[uid]))
	}
	h.must(h.e.Hosts(all.hosts)) // as the endpoints: the agent knows both by itself
	tell := []func(){
		func() { h.must(h.e.Workloads(slices.Collect(maps.Values(all.pods)), nil, true)) },
		func() { h.must(h.e.Peers(slices.Collect(maps.Values(all.peers)), nil, true)) },
	}
	h.r.Shuffle(len(tell), func(i, j int) { tell[i], tell[j] = tell[j], tell[i] })
	for _, fn := range tell {
		fn()
	}
	if h.r.IntN(2) == 0 {
		h.must(h.e.Collect())
	}
	h.e.Count() // people may look at any time
	h.e.Endpoints()
	sets := []func(){
		func() {
			wanted, _, _ := h.e.Wanted()
			gone := slices.DeleteFunc(wanted, func(n string) bool { return all.held[n] != nil })
			h.must(h.e.VerdictSets(all.held, gone))
		},
		func() { h.must(h.e.PeerSets(all.peerSets, nil)) },
	}
	if h.r.IntN(2) == 0 {
		slices.Reverse(sets)
	}
	sets[0]()
	sets[1]()
	h.also = nil
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func randomMembers(r *rand.Rand) []string {
	out := []string{}
	for _, n := range append(slices.Clone(identityNames), verdict.NodeIdentity("node-b"), verdict.NodeIdentity(thisNode)) {
		if r.IntN(2) == 0 {
			out = append(out, n)
		}
	}
	return out
}

// step is one random batch.
func (h *harness) step() {
	switch r := h.r; r.IntN(16) {
	default:
		put := map[string][]string{}
		for range 1 + r.IntN(2) {
			put[pick(r, setNames)] = randomMembers(r)
		}
		h.batch("peer sets", func(m *model) { maps.Copy(m.peerSets, put) }, func() error { return h.e.PeerSets(put, nil) })
	case 0, 1:
		h.stepPeers()
	case 5, 6, 7:
		h.stepSets()
	case 8:
		h.stepPods()
	case 9:
		hosts := []netip.Addr{netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("10.9.9.9")}[:r.IntN(3)]
		h.batch("hosts", func(m *model) { m.hosts = hosts }, func() error { return h.e.Hosts(hosts) })
	}
}

func (h *harness) stepPeers() {
	r := h.r
	taken := map[netip.Addr]string{}
	for name, p := range h.now.peers {
		for _, a := range p.Addresses {
			taken[a] = name
		}
	}
	var gone []string
	put := map[string]Peer{}
	for range 1 + r.IntN(3) {
		name := pick(r, []string{"p1", "p2", "p3", "p4", "node/node-a", "node/node-b", "kube-apiserver"})
		if _, there := h.now.peers[name]; there && r.IntN(3) == 0 && put[name].Name == "" {
			gone = append(gone, name)
			continue
		}
		p := Peer{Name: name, Pod: name, Entities: verdict.All | verdict.Pods}
		a := netip.MustParseAddr(pick(r, someAddresses))
		switch name {
		case "node/node-a", "node/node-b":
			p.Identity, p.Entities = name, verdict.All|verdict.RemoteNode
			a = netip.MustParseAddr(nodeAddresses[name[len(name)-1]-'a'])
		case "kube-apiserver":
			p.Entities = verdict.All | verdict.World | verdict.KubeAPIServer
		default:
			p.Identity = pick(r, identityNames)
			p.Namespace = namespaceOf(p.Identity)
		}
		if by, ok := taken[a]; ok && by != name || slices.Contains(gone, name) {
			continue
		}
		taken[a] = name
		p.Addresses = []netip.Addr{a}
		put[name] = p
	}
	h.batch("peers", func(m *model) {
		for _, n := range gone {
			delete(m.peers, n)
		}
		maps.Copy(m.peers, put)
	}, func() error { return h.e.Peers(slices.Collect(maps.Values(put)), gone, false) })
}

func (h *harness) stepSets() {
	r := h.r
	used := map[string]bool{}
	for uid, p := range h.now.pods {
		used[p.Identity], used[h.now.has[uid]] = true, true
	}
	if len(used) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(used))
	if name := pick(r, names); r.IntN(6) == 0 {
		moving := !slices.ContainsFunc(slices.Collect(maps.Values(h.now.pods)), func(w Workload) bool { return w.Identity == name })
		h.batch("set gone", func(m *model) {
			if delete(m.next, name); !moving {
				delete(m.held, name)
			}
		}, func() error { return h.e.VerdictSets(nil, []string{name}) })
		return
	}
	put := map[string]*verdict.Set{}
	for range 1 + r.IntN(2) {
		put[pick(r, names)] = randomSet(r)
	}
	for uid, p := range h.now.pods {
		if has := h.now.has[uid]; has != p.Identity {
			delete(put, has) // or else it has that for a moment, before it has the other
		}
	}
	h.batch("sets", func(m *model) { maps.Copy(m.next, put) }, func() error { return h.e.VerdictSets(put, nil) })
}

func (h *harness) stepPods() {
	r := h.r
	uid := pick(r, []string{"u1", "u2", "u3"})
	w, known := h.now.pods[uid]
	switch {
	case known && r.IntN(3) == 0:
		h.batch("pod gone", func(m *model) { m.forget(uid) }, func() error {
			return errors.Join(h.e.Detached(uid), h.e.Workloads(nil, []string{uid}, false))
		})
	case uid == "u1" && h.now.pods["u3"].UID != "" || uid == "u3" && h.now.pods["u1"].UID != "":
	default:
		w = Workload{UID: uid, Name: uid, Namespace: "shop", Identity: pick(r, identityNames[:3]), Addresses: places[uid]}
		if uid == "u2" {
			w.Namespace, w.Identity = "bank", pick(r, identityNames[3:])
		}
		h.batch("pod "+uid, func(m *model) {
			m.pods[uid], m.attached[uid] = w, true
		}, func() error {
			return errors.Join(h.e.Workloads([]Workload{w}, nil, false), h.e.Attached(uid, 7, places[uid]))
		})
	}
}

func (m *model) forget(uid string) {
	delete(m.pods, uid)
	delete(m.has, uid)
	delete(m.attached, uid)
}

// populate has pods, peers and policy be there at first.
func (h *harness) populate() {
	for _, uid := range []string{"u1", "u2"} {
		w := Workload{UID: uid, Name: uid, Namespace: "shop", Identity: "ns/shop/web/1", Addresses: places[uid]}
		if uid == "u2" {
			w.Namespace, w.Identity = "bank", "ns/bank/web/1"
		}
		h.batch("pod "+uid, func(m *model) { m.pods[uid], m.attached[uid] = w, true }, func() error {
			return errors.Join(h.e.Workloads([]Workload{w}, nil, false), h.e.Attached(uid, 7, places[uid]))
		})
	}
	for range 8 {
		h.stepPeers()
	}
	put, members := map[string]*verdict.Set{"ns/shop/web/1": randomSet(h.r), "ns/bank/web/1": randomSet(h.r)}, map[string][]string{}
	for _, n := range setNames {
		members[n] = randomMembers(h.r)
	}
	h.batch("peer sets", func(m *model) { maps.Copy(m.peerSets, members) }, func() error { return h.e.PeerSets(members, nil) })
	h.batch("sets", func(m *model) { maps.Copy(m.next, put) }, func() error { return h.e.VerdictSets(put, nil) })
}

// TestOracle tells random resources in random orders. After every single write all answers are those of before or those of after, and
// at the end those of verdict.Judge; with writes that fail, and with an agent that is killed between two writes.
func TestOracle(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, seed)
			h.populate()
			for range 30 {
				h.k.fail = nil
				switch at := h.k.steps + 1 + h.r.IntN(20); h.r.IntN(8) {
				case 0:
					h.k.fail = func(step int) error {
						if h.crashed = h.crashed || step >= at; h.crashed {
							return errKernel
						}
						return nil
					}
				case 1:
					h.k.fail = func(step int) error {
						if step == at || step == at+5 {
							return errKernel
						}
						return nil
					}
				}
				h.step()
			}
			h.k.fail = nil
			h.must(h.e.Collect())
			h.leftovers()
		})
	}
}

// leftovers demands that nothing but what is in use is in the kernel.
func (h *harness) leftovers() {
	n := h.e.Count()
	ranges := 0
	for _, s := range h.e.subjects {
		if s.held != nil {
			ranges += len(s.held.ranges())
		}
	}
	subjects := 0
	_ = h.k.Subjects(func(uint32, uint32) bool { subjects++; return true })
	if len(h.k.rules) != n.Rules || len(h.k.parts) != n.Sets || len(h.k.ranges) != ranges || subjects != n.Sets || len(h.k.addresses) != n.Addresses {
		h.t.Errorf("the kernel has %d rules, %d parts, %d ranges, %d subjects, %d addresses; in use are %+v and %d ranges",
			len(h.k.rules), len(h.k.parts), len(h.k.ranges), subjects, len(h.k.addresses), n, ranges)
	}
}
