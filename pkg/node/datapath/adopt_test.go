package datapath

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/pkg/verdict"
)

// TestAdopt has an agent that comes back find everything as it was, while the kernel went on enforcing.
func TestAdopt(t *testing.T) {
	t.Parallel()
	n := newNode(t, false)
	for _, p := range n.pods() {
		server(t, p.space, 80)
		n.hold(t, p, p.identity, everything())
	}
	c := n.hold(t, n.b, 7, only(verdict.Ingress, identity("a"), 80))
	conn, err := dial(n.a.space, "tcp4", at(n.b, 80)(false), patience)
	must(t, err)
	defer func() { _ = conn.Close() }()
	before := linksOf(t, n)
	check := func(what string) {
		t.Helper()
		expect(t, what, check{n.a.space, at(n.b, 80), true}, check{n.c.space, at(n.b, 80), false}, check{n.c.space, at(n.d, 80), true})
		if err := ping(conn, patience); err != nil {
			t.Errorf("%s, a connection of before: %v", what, err)
		}
	}
	must(t, n.Datapath.Close())
	check("without an agent")
	n.Datapath = open(t, Config{Dir: n.dir})
	if !n.Adopted() {
		t.Error("the maps are not adopted")
	}
	var rules []Rule
	must(t, n.Rules(func(r Rule) bool {
		rules = append(rules, r)
		return true
	}))
	slices.SortFunc(rules, func(a, b Rule) int { return int(a.Protocol) - int(b.Protocol) })
	if !slices.Equal(rules, c.rules) {
		t.Errorf("rules %+v are not what was written: %+v", rules, c.rules)
	}
	for _, p := range n.pods() {
		n.attach(t, p)
	}
	must(t, n.host.do(n.AttachHost))
	if after := linksOf(t, n); !slices.Equal(before, after) {
		t.Errorf("the same programs were attached anew: %v, before %v", after, before)
	}
	check("adopted")
	endpoints := 0
	must(t, n.Endpoints(func(e Endpoint) bool {
		endpoints++
		return slices.Contains(e.Addresses, n.a.v4) == (e.Identity == n.a.identity)
	}))
	if endpoints != 4 {
		t.Errorf("%d endpoints are known", endpoints)
	}
}

// linksOf gives what is pinned, and the kernel's numbers of it.
func linksOf(t testing.TB, n *node) (out []string) {
	t.Helper()
	rows, err := os.ReadDir(n.links())
	must(t, err)
	for _, r := range rows {
		l, err := link.LoadPinnedLink(filepath.Join(n.links(), r.Name()), nil)
		must(t, err)
		info, err := l.Info()
		must(t, err)
		out = append(out, r.Name(), string(rune(info.ID)), string(rune(info.Program)))
		must(t, l.Close())
	}
	return out
}

// TestUpgrade has maps of another size, and with them other programs, take the place of those that enforce, without a packet that
// nobody judges: one that is denied is sent all the time, and never passes; and one that is allowed is never dropped.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	n := newNode(t, false)
	for _, p := range n.pods() {
		server(t, p.space, 80)
		n.hold(t, p, p.identity, everything())
	}
	n.hold(t, n.b, 7, only(verdict.Ingress, identity("a"), 80))
	n.hold(t, n.d, 8, only(verdict.Ingress, identity("a"), 80))
	stop := probe(t, n)
	for i := range uint32(2) {
		old := n.Datapath
		sizes := smallSizes
		sizes.Flows += (i + 1) * 1000
		n.Datapath = open(t, Config{Dir: n.dir, Sizes: sizes})
		must(t, old.Close())
		if n.Adopted() {
			t.Error("maps of another size are adopted")
		}
		for _, p := range n.pods() {
			n.put(t, p)
			n.hold(t, p, p.identity, everything())
		}
		n.hold(t, n.b, 7, only(verdict.Ingress, identity("a"), 80))
		n.hold(t, n.d, 8, only(verdict.Ingress, identity("a"), 80))
		for _, p := range n.pods() {
			n.attach(t, p)
		}
		must(t, n.host.do(n.AttachHost))
		must(t, n.Datapath.Close())
		n.Datapath = open(t, Config{Dir: n.dir, Sizes: sizes})
		if !n.Adopted() {
			t.Error("maps that enforce are not adopted")
		}
	}
	stop()
}

// probe sends datagrams from a, which may, and from c, which may not, to b and d, until the function is called that it gives.
func probe(t *testing.T, n *node) (stop func()) {
	t.Helper()
	type stream struct {
		net.Conn
		allowed bool
	}
	var streams []stream
	for _, x := range []struct {
		from    *pod
		allowed bool
	}{{n.a, true}, {n.c, false}} {
		for _, to := range []*pod{n.b, n.d} {
			for _, six := range []bool{false, true} {
				// Another port each time, so that no answer is one that is remembered.
				must(t, x.from.do(func() error {
					c, err := net.Dial("udp", netip.AddrPortFrom(to.addr(six), 80).String())
					streams = append(streams, stream{c, x.allowed})
					return err
				}))
			}
		}
	}
	done, ended := make(chan struct{}), make(chan struct{}, len(streams))
	for _, s := range streams {
		go func() {
			defer func() { ended <- struct{}{} }()
			b := make([]byte, 16)
			for {
				select {
				case <-done:
					return
				default:
				}
				within := 20 * time.Millisecond
				if s.allowed {
					within = patience
				}
				_ = s.SetDeadline(time.Now().Add(within))
				_, err := s.Write([]byte("across"))
				if err == nil {
					_, err = s.Read(b)
				}
				if (err == nil) != s.allowed {
					t.Errorf("%s to %s: %v", s.LocalAddr(), s.RemoteAddr(), err)
					return
				}
			}
		}()
	}
	return func() {
		close(done)
		for range streams {
			<-ended
		}
		for _, s := range streams {
			_ = s.Close()
		}
	}
}

// TestDetach lets a pod go, whose interface is there or not, and another have its index.
func TestDetach(t *testing.T) {
	t.Parallel()
	n := newNode(t, false)
	for _, p := range n.pods() {
		server(t, p.space, 80)
		n.hold(t, p, p.identity, everything())
	}
	index, _ := n.host.link(n.a.veth)
	must(t, n.Detach(index))
	must(t, n.Detach(index))
	must(t, n.DeleteAddress(n.a.v4))
	must(t, n.DeleteAddress(n.a.v6))
	expect(t, "detached", check{n.a.space, at(n.d, 80), true}, check{n.d.space, at(n.a, 80), true})

	index, _ = n.host.link(n.c.veth)
	n.host.ip("link del " + n.c.veth)
	n.c = n.routed(t, "c", 3) // with another index
	server(t, n.c.space, 80)
	n.put(t, n.c)
	n.attach(t, n.c)
	must(t, n.Detach(index))
	expect(t, "made anew", check{n.c.space, at(n.d, 80), true}, check{n.d.space, at(n.c, 80), true})

	// An interface whose index is another's now: the link that is pinned is of one that has gone.
	index, _ = n.host.link(n.c.veth)
	n.host.ip("link del " + n.c.veth)
	n.c = n.routedAt(t, "c", 3, index)
	server(t, n.c.space, 80)
	n.put(t, n.c)
	n.attach(t, n.c)
	n.hold(t, n.c, 20, only(verdict.Ingress, identity("a"), 80))
	expect(t, "with the same index", check{n.c.space, at(n.d, 80), true}, check{n.d.space, at(n.c, 80), false})
}

// TestUninstall leaves nothing.
func TestUninstall(t *testing.T) {
	t.Parallel()
	n := newNode(t, false)
	for _, p := range n.pods() {
		server(t, p.space, 80)
	}
	expect(t, "before", check{n.a.space, at(n.b, 80), false}, check{n.c.space, at(n.d, 80), false})
	must(t, n.Datapath.Close())
	must(t, Uninstall(n.dir))
	if _, err := os.Stat(n.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	expect(t, "after", check{n.a.space, at(n.b, 80), true}, check{n.c.space, at(n.d, 80), true}, check{n.host, at(n.a, 80), true})
	must(t, Uninstall(n.dir))
	n.Datapath = open(t, Config{Dir: n.dir})
	if n.Adopted() {
		t.Error("what was uninstalled is adopted")
	}
	if err := Uninstall(t.TempDir()); !errors.Is(err, ErrBPFFS) {
		t.Errorf("a directory that is no bpffs is uninstalled: %v", err)
	}
}

// TestRoundTrip has maps give back what was put.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	d := open(t, Config{})
	r := rand.New(rand.NewPCG(1, 2))
	c := compile(5, randomSet(r), oracleNames)
	for len(c.rules) < 50 || len(c.ranges) < 5 {
		c = compile(5, randomSet(r), oracleNames)
	}
	c.put(t, d)
	var rules []Rule
	must(t, d.Rules(func(r Rule) bool {
		rules = append(rules, r)
		return true
	}))
	for _, r := range c.rules {
		if !slices.Contains(rules, r) {
			t.Errorf("%+v is not among the rules", r)
		}
	}
	var ranges []Range
	must(t, d.Ranges(func(r Range) bool {
		ranges = append(ranges, r)
		return true
	}))
	for _, r := range c.ranges {
		if !slices.Contains(ranges, r) {
			t.Errorf("%+v is not among the ranges", r)
		}
	}
	if len(rules) != len(c.rules) || len(ranges) != len(c.ranges) {
		t.Errorf("%d rules of %d, %d ranges of %d", len(rules), len(c.rules), len(ranges), len(c.ranges))
	}
	must(t, d.Parts(func(set uint32, p Parts) bool {
		if set != 5 || p != c.parts {
			t.Errorf("Set %d uses %+v, not %+v", set, p, c.parts)
		}
		return true
	}))
	must(t, d.PutSubject(9, 5))
	must(t, d.Subjects(func(identity, set uint32) bool {
		if identity != 9 || set != 5 {
			t.Errorf("identity %d has Set %d", identity, set)
		}
		return true
	}))
	a := Address{Identity: 1, Namespace: 2, Entities: verdict.All | verdict.Pods, Interface: 3}
	for _, x := range []string{"10.1.2.3", "fd00::1"} {
		must(t, d.PutAddress(netip.MustParseAddr(x), a))
		must(t, d.Addresses(func(got netip.Addr, v Address) bool {
			if got.String() != x || v != a {
				t.Errorf("%s is %+v", got, v)
			}
			return true
		}))
		must(t, d.DeleteAddress(netip.MustParseAddr(x)))
		must(t, d.DeleteAddress(netip.MustParseAddr(x)))
	}
	c.remove(t, d)
	must(t, d.Rules(func(r Rule) bool {
		t.Errorf("%+v is left", r)
		return true
	}))
	must(t, d.Settle())
	if err := d.PutSubject(1<<20, 1); !errors.Is(err, ErrFull) {
		t.Errorf("an identity beyond the map: %v", err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	must(t, Probe())
}

// TestPriority finds another place where one is taken, and says so where both are.
func TestPriority(t *testing.T) {
	t.Parallel()
	n := newNode(t, false)
	must(t, n.Datapath.Close())
	must(t, Uninstall(n.dir))
	n.host.run("nft", "table inet fl { chain first { type filter hook forward priority 17; }; }")
	n.Datapath = open(t, Config{Dir: n.dir})
	must(t, n.host.do(n.AttachHost))
	must(t, n.host.do(n.AttachHost))
	must(t, n.Datapath.Close())
	must(t, Uninstall(n.dir))
	n.host.run("nft", "table inet fl { chain second { type filter hook forward priority 18; }; }")
	n.Datapath = open(t, Config{Dir: n.dir})
	if err := n.host.do(n.AttachHost); !errors.Is(err, unix.EBUSY) {
		t.Errorf("with both places taken: %v", err)
	}
	must(t, n.Datapath.Close())
	must(t, Uninstall(n.dir))
	n.Datapath = open(t, Config{Dir: n.dir, Priority: 33})
	must(t, n.host.do(n.AttachHost))
	if err := n.Attach(Endpoint{Interface: 1, Addresses: make([]netip.Addr, MaxAddresses+1)}); err == nil {
		t.Error("a pod of too many addresses is attached")
	}
}
