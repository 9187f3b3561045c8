package datapath

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/pkg/verdict"
)

// patience is how long a packet that must come may take, and silence how long one that must not is waited for.
const (
	patience = 5 * time.Second
	silence  = 250 * time.Millisecond
)

// server echoes what it is sent, with TCP and UDP, on one port of both families.
func server(t testing.TB, s *space, port int) {
	t.Helper()
	for _, network := range []string{"4", "6"} {
		var l net.Listener
		var u net.PacketConn
		must(t, s.do(func() (err error) {
			at := map[string]string{"4": "0.0.0.0", "6": "[::]"}[network]
			if l, err = net.Listen("tcp"+network, fmt.Sprintf("%s:%d", at, port)); err == nil {
				u, err = net.ListenPacket("udp"+network, fmt.Sprintf("%s:%d", at, port))
			}
			return err
		}))
		done := make(chan struct{}, 2)
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer func() { _ = c.Close() }()
					_, _ = io.Copy(c, c)
				}()
			}
		}()
		go func() {
			defer func() { done <- struct{}{} }()
			b := make([]byte, 1<<16)
			for {
				n, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = u.WriteTo(b[:n], from)
			}
		}()
		t.Cleanup(func() {
			_, _ = l.Close(), u.Close()
			<-done
			<-done
		})
	}
}

// dial connects from a namespace.
func dial(s *space, network string, to netip.AddrPort, within time.Duration) (c net.Conn, err error) {
	err = s.do(func() error {
		c, err = net.DialTimeout(network, to.String(), within)
		return err
	})
	return c, err
}

// line needs three fragments of a datagram.
var line = strings.Repeat("across\n", 500)

// ping sends a line and wants it back. A datagram may get lost, and is sent again.
func ping(c net.Conn, within time.Duration) error {
	end := time.Now().Add(within)
	again := within
	if c.LocalAddr().Network() == "udp" && within > time.Second {
		again = time.Second
	}
	for {
		if err := c.SetDeadline(time.Now().Add(again)); err != nil {
			return err
		}
		_, err := c.Write([]byte(line))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, len(line)))
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(end) {
			return err
		}
	}
}

// try tells whether a request and its answer go through.
func try(s *space, network string, to netip.AddrPort, within time.Duration) error {
	c, err := dial(s, network, to, within)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return ping(c, within)
}

// check is a request that passes, or is met by silence.
type check struct {
	from   *space
	to     func(six bool) netip.AddrPort
	passes bool
}

// at is a port of a pod.
func at(p *pod, port uint16) func(bool) netip.AddrPort {
	return func(six bool) netip.AddrPort { return netip.AddrPortFrom(p.addr(six), port) }
}

// either is one of two addresses, by family.
func either(four, six string) func(bool) netip.AddrPort {
	return func(is6 bool) netip.AddrPort {
		if is6 {
			return netip.MustParseAddrPort(six)
		}
		return netip.MustParseAddrPort(four)
	}
}

var networks = []struct {
	name     string
	protocol uint8
	six      bool
}{{"tcp4", unix.IPPROTO_TCP, false}, {"udp4", unix.IPPROTO_UDP, false}, {"tcp6", unix.IPPROTO_TCP, true}, {"udp6", unix.IPPROTO_UDP, true}}

// expect makes all checks at once, over TCP and UDP, IPv4 and IPv6.
func expect(t testing.TB, what string, checks ...check) {
	t.Helper()
	var wg sync.WaitGroup
	for _, c := range checks {
		for _, n := range networks {
			wg.Go(func() { c.do(t, what, n.name, c.to(n.six)) })
		}
	}
	wg.Wait()
}

func (c check) do(t testing.TB, what, network string, to netip.AddrPort) {
	within := silence
	if c.passes {
		within = patience
	}
	err := try(c.from, network, to, within)
	switch {
	case c.passes && err != nil:
		t.Errorf("%s: %s to %s: %v", what, network, to, err)
	case !c.passes && err == nil:
		t.Errorf("%s: %s to %s passes", what, network, to)
	case !c.passes && !isSilence(err):
		t.Errorf("%s: %s to %s: %v, where nothing should come back", what, network, to, err)
	}
}

func isSilence(err error) bool {
	var n net.Error
	// The host itself is told that its packet was dropped (EPERM).
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ETIMEDOUT) || errors.As(err, &n) && n.Timeout()
}

var wireNames = names{
	identities: []string{"a", "b", "c", "d"}, namespaces: []string{"shop"},
	entities: []verdict.Entity{
		verdict.All | verdict.World, verdict.All | verdict.Pods, verdict.All | verdict.Host, verdict.All | verdict.RemoteNode, verdict.All,
	},
	in: func(set, identity string) bool { return set == identity },
}

// open allows everything.
func everything() *verdict.Set { return &verdict.Set{} }

// only isolates a direction, and lets one peer pass at one port of TCP and UDP.
func only(d verdict.Direction, p verdict.Peer, port uint16) *verdict.Set {
	s := &verdict.Set{Rules: []verdict.Rule{{
		Direction: d, Tier: verdict.Main, Peers: []verdict.Peer{p},
		Ports: []verdict.Ports{{Protocol: unix.IPPROTO_TCP, First: port, Last: port}, {Protocol: unix.IPPROTO_UDP, First: port, Last: port}},
	}}}
	s.Isolated[d][verdict.Network] = []verdict.Origin{{Name: "only"}}
	return s
}

func identity(name string) verdict.Peer { return verdict.Peer{Kind: verdict.PeerSet, Name: name} }

// hold has a pod's identity have a Set, of a new number, and flows judged anew.
func (n *node) hold(t testing.TB, p *pod, number uint32, s *verdict.Set) compiled {
	t.Helper()
	c := compile(number, s, wireNames)
	c.put(t, n.Datapath)
	must(t, n.PutSubject(p.identity, number))
	must(t, n.Bump())
	return c
}

// bridgeCalls are the two ways of a bridge: with what it forwards shown to netfilter too (br_netfilter), and without.
func bridgeCalls(t *testing.T, fn func(*testing.T, *node)) {
	for name, on := range map[string]bool{"br_netfilter": true, "bridge alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, on)
			for _, p := range n.pods() {
				server(t, p.space, 80)
				server(t, p.space, 81)
				n.hold(t, p, p.identity, everything())
			}
			fn(t, n)
		})
	}
}

// TestWire has real sockets speak between pods that a bridge and routes connect, and the host.
func TestWire(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, n *node) {
		server(t, n.host, 80)
		server(t, n.world.space, 80)
		server(t, n.far.space, 80)
		number := uint32(10)
		for _, x := range []struct{ from, other, to *pod }{{n.a, n.c, n.b}, {n.c, n.a, n.d}, {n.a, n.b, n.c}, {n.c, n.b, n.a}} {
			what := x.from.name + " to " + x.to.name
			number++
			n.hold(t, x.to, number, only(verdict.Ingress, identity(x.from.name), 80))
			expect(t, what, check{x.from.space, at(x.to, 80), true}, check{x.from.space, at(x.to, 81), false}, check{x.other.space, at(x.to, 80), false},
				check{n.far.space, at(x.to, 80), false}, check{n.world.space, at(x.to, 80), false}, check{n.host, at(x.to, 80), false})
			n.hold(t, x.to, x.to.identity, everything())
			expect(t, what+", everything", check{x.from.space, at(x.to, 81), true}, check{x.other.space, at(x.to, 80), true},
				check{n.far.space, at(x.to, 80), true}, check{n.world.space, at(x.to, 80), true}, check{n.host, at(x.to, 80), true},
				check{x.to.space, at(n.world, 80), true}, check{x.to.space, at(n.far, 80), true})
			number++
			n.hold(t, x.from, number, only(verdict.Egress, identity(x.to.name), 80))
			expect(t, what+", egress", check{x.from.space, at(x.to, 80), true}, check{x.from.space, at(x.to, 81), false}, check{x.from.space, at(x.other, 80), false},
				check{x.from.space, at(n.world, 80), false}, check{x.from.space, at(n.far, 80), false}, check{x.other.space, at(x.from, 80), true})
			n.hold(t, x.from, x.from.identity, everything())
		}
		for _, p := range []*pod{n.a, n.c} {
			host := either("10.1.0.1:80", "[fd01::1]:80")
			if !p.bridged {
				host = either("169.254.1.1:80", "[fd01::1]:80")
			}
			entity := verdict.Peer{Kind: verdict.PeerEntity, Entity: verdict.Host}
			number++
			n.hold(t, p, number, only(verdict.Ingress, entity, 80))
			expect(t, "host to "+p.name, check{n.host, at(p, 80), true}, check{n.host, at(p, 81), false}, check{n.d.space, at(p, 80), false}, check{p.space, host, true})
			number++
			n.hold(t, p, number, only(verdict.Egress, entity, 80))
			expect(t, p.name+" to host", check{p.space, host, true}, check{p.space, at(n.d, 80), false}, check{n.host, at(p, 81), true})
			number++
			n.hold(t, p, number, only(verdict.Egress, identity("nobody"), 80))
			expect(t, p.name+" to nobody", check{p.space, host, false}, check{p.space, at(n.world, 80), false}, check{n.host, at(p, 81), true})
			n.hold(t, p, p.identity, everything())
		}
	})
}

// TestService has kube-proxy's kind of DNAT between a pod and the pod that it speaks to, which is all that policy may see.
func TestService(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, n *node) {
		n.host.run("nft", `table inet fl {
			chain pre { type nat hook prerouting priority -100; jump services; }
			chain out { type nat hook output priority -100; jump services; }
			chain post { type nat hook postrouting priority 100; ct status dnat masquerade; }
			chain services {
				ip daddr 10.96.0.1 meta l4proto { tcp, udp } th dport 80 dnat ip to `+n.d.v4.String()+`
				ip6 daddr fd96::1 meta l4proto { tcp, udp } th dport 80 dnat ip6 to `+n.d.v6.String()+`
				ip daddr 10.96.0.2 meta l4proto { tcp, udp } th dport 80 dnat ip to `+n.b.v4.String()+`
				ip6 daddr fd96::2 meta l4proto { tcp, udp } th dport 80 dnat ip6 to `+n.b.v6.String()+`
			}
		}`)
		n.host.ip("route add 10.96.0.0/16 dev lo", "route add fd96::/64 dev lo")
		number := uint32(10)
		for i, to := range []*pod{n.d, n.b} {
			service := either(fmt.Sprintf("10.96.0.%d:80", i+1), fmt.Sprintf("[fd96::%d]:80", i+1))
			for _, x := range []struct{ from, other *pod }{{n.a, n.c}, {n.c, n.a}} {
				number++
				n.hold(t, to, number, only(verdict.Ingress, identity(x.from.name), 80))
				expect(t, "ingress of "+to.name, check{x.from.space, service, true}, check{x.other.space, service, false}, check{n.host, service, false})
			}
			n.hold(t, to, to.identity, everything())
			// Egress names the pod, not the service.
			number++
			n.hold(t, n.a, number, only(verdict.Egress, identity(to.name), 80))
			expect(t, "egress to "+to.name, check{n.a.space, service, true}, check{n.a.space, at(n.c, 80), false}, check{n.host, service, true})
			n.hold(t, n.a, n.a.identity, everything())
			// A pod that reaches itself by a service has left itself, so its policy is asked.
			number++
			n.hold(t, to, number, only(verdict.Ingress, identity("nobody"), 80))
			expect(t, to.name+" to itself", check{to.space, service, false})
			number++
			n.hold(t, to, number, only(verdict.Ingress, identity(to.name), 80))
			expect(t, to.name+" to itself", check{to.space, service, true})
			n.hold(t, to, to.identity, everything())
		}
	})
}

// TestWithdrawn ends a connection whose permission is withdrawn, on its next packet, and only that.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, n *node) {
		for i, x := range []struct{ from, to *pod }{{n.a, n.b}, {n.c, n.d}, {n.a, n.d}} {
			var conns []net.Conn
			for _, w := range networks {
				c, err := dial(x.from.space, w.name, at(x.to, 80)(w.six), patience)
				must(t, err)
				defer func() { _ = c.Close() }()
				conns = append(conns, c)
			}
			each := func(fn func(net.Conn)) {
				var wg sync.WaitGroup
				for _, c := range conns {
					wg.Go(func() { fn(c) })
				}
				wg.Wait()
			}
			stays := func(c net.Conn) {
				if err := ping(c, patience); err != nil {
					t.Errorf("%s to %s: %v", c.LocalAddr().Network(), c.RemoteAddr(), err)
				}
			}
			each(stays)
			must(t, n.Bump())
			each(stays)
			n.hold(t, x.to, uint32(10+i), only(verdict.Ingress, identity("nobody"), 80))
			each(func(c net.Conn) {
				if err := ping(c, silence); err == nil || !isSilence(err) {
					t.Errorf("%s to %s after its permission was withdrawn: %v", c.LocalAddr().Network(), c.RemoteAddr(), err)
				}
			})
			n.hold(t, x.to, x.to.identity, everything())
			each(func(c net.Conn) {
				if c.LocalAddr().Network() == "udp" {
					stays(c)
					return
				}
				// TCP sends again what was not acknowledged.
				must(t, c.SetDeadline(time.Now().Add(patience)))
				if _, err := io.ReadFull(c, make([]byte, len(line))); err != nil {
					t.Errorf("%s is not taken up: %v", c.RemoteAddr(), err)
				}
			})
		}
	})
}

// TestUnknown denies everything to and from a pod whose identity has no Set, but what the host sends.
func TestUnknown(t *testing.T) {
	t.Parallel()
	n := newNode(t, false)
	for _, p := range n.pods() {
		server(t, p.space, 80)
	}
	server(t, n.world.space, 80)
	n.hold(t, n.a, 1, everything())
	for _, p := range []*pod{n.b, n.c} {
		expect(t, p.name, check{n.host, at(p, 80), true}, check{n.a.space, at(p, 80), false}, check{p.space, at(n.a, 80), false},
			check{p.space, at(n.world, 80), false}, check{n.world.space, at(p, 80), false})
	}
	// A Set that nobody has written is none.
	must(t, n.PutSubject(n.b.identity, 77))
	must(t, n.Bump())
	expect(t, "a Set that is not there", check{n.a.space, at(n.b, 80), false})
}

// TestSpoof refuses what a pod sends from addresses that are not its own.
func TestSpoof(t *testing.T) {
	t.Parallel()
	n := newNode(t, false)
	for _, p := range n.pods() {
		server(t, p.space, 80)
		n.hold(t, p, p.identity, everything())
	}
	for _, x := range []struct{ liar, victim, to *pod }{{n.a, n.c, n.b}, {n.c, n.a, n.d}, {n.a, n.c, n.d}, {n.world, n.a, n.d}, {n.far, n.b, n.a}} {
		x.liar.ip("addr add "+x.victim.v4.String()+"/32 dev eth0", "addr add "+x.victim.v6.String()+"/128 dev eth0 nodad preferred_lft 0")
		expect(t, x.liar.name+" as itself", check{x.liar.space, at(x.to, 80), true})
		before := drops(t, n, InvalidSourceIP)
		var wg sync.WaitGroup
		for _, w := range networks {
			from := netip.AddrPortFrom(x.victim.addr(w.six), 0)
			dialer := net.Dialer{Timeout: silence, LocalAddr: net.Addr(net.UDPAddrFromAddrPort(from))}
			if w.protocol == unix.IPPROTO_TCP {
				dialer.LocalAddr = net.TCPAddrFromAddrPort(from)
			}
			wg.Go(func() {
				err := x.liar.do(func() error {
					c, err := dialer.Dial(w.name, at(x.to, 80)(w.six).String())
					if err == nil {
						err = ping(c, silence)
						_ = c.Close()
					}
					return err
				})
				if err == nil || !isSilence(err) {
					t.Errorf("%s as %s to %s, %s: %v", x.liar.name, x.victim.name, x.to.name, w.name, err)
				}
			})
		}
		wg.Wait()
		if refused := drops(t, n, InvalidSourceIP) - before; refused < uint64(len(networks)) {
			t.Errorf("%s as %s to %s: %d packets were refused for their source", x.liar.name, x.victim.name, x.to.name, refused)
		}
		x.liar.ip("addr del "+x.victim.v4.String()+"/32 dev eth0", "addr del "+x.victim.v6.String()+"/128 dev eth0")
	}
	n.a.ip("link set eth0 address 02:00:00:00:00:99")
	expect(t, "with another's MAC", check{n.a.space, at(n.b, 80), false}, check{n.a.space, at(n.d, 80), false})
	if drops(t, n, InvalidSourceMAC) == 0 {
		t.Error("nothing was refused for its MAC")
	}
}

// drops counts the packets dropped for a reason.
func drops(t testing.TB, n *node, why Reason) (sum uint64) {
	t.Helper()
	must(t, n.Drops(func(d Drop) bool {
		if d.Reason == why && !d.Audited {
			sum += d.Packets
		}
		return true
	}))
	return sum
}
