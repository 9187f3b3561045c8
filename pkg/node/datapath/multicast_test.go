package datapath

import (
	"net"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/verdict"
)

// TestMulticast has what is to all ports of a bridge be judged for each pod that it comes to.
func TestMulticast(t *testing.T) {
	t.Parallel()
	n := newNode(t, false)
	for _, p := range n.pods() {
		n.hold(t, p, p.identity, everything())
	}
	for i, group := range []*net.UDPAddr{{IP: net.ParseIP("239.1.2.3"), Port: 5000}, {IP: net.ParseIP("ff05::123"), Port: 5000}} {
		var c *net.UDPConn
		must(t, n.b.do(func() error {
			eth0, err := net.InterfaceByName("eth0")
			if err == nil {
				c, err = net.ListenMulticastUDP([]string{"udp4", "udp6"}[i], eth0, group)
			}
			return err
		}))
		defer func() { _ = c.Close() }()
		hears := func(from *pod, want bool, what string) {
			t.Helper()
			within := silence
			if want {
				within = patience
			}
			for end := time.Now().Add(within); ; {
				must(t, from.do(func() error {
					s, err := net.DialUDP("udp", nil, group)
					if err == nil {
						_, err = s.Write([]byte("to all"))
						_ = s.Close()
					}
					return err
				}))
				must(t, c.SetReadDeadline(time.Now().Add(silence/2)))
				_, _, err := c.ReadFrom(make([]byte, 64))
				if heard := err == nil; heard || !time.Now().Before(end) {
					if heard != want {
						t.Errorf("%s, %s: heard: %v", group, what, heard)
					}
					return
				}
			}
		}
		hears(n.a, true, "from a")
		hears(n.far, true, "from another port")
		n.hold(t, n.b, uint32(10+3*i), only(verdict.Ingress, identity("a"), 80))
		hears(n.a, false, "from a, at another port")
		n.hold(t, n.b, uint32(11+3*i), only(verdict.Ingress, identity("a"), 5000))
		hears(n.a, true, "from a, who may")
		hears(n.far, false, "from another port, who may not")
		n.hold(t, n.b, n.b.identity, everything())
		n.hold(t, n.a, uint32(12+3*i), only(verdict.Egress, identity("b"), 5000))
		hears(n.a, false, "from a, who may send to b alone")
		n.hold(t, n.a, n.a.identity, everything())
	}
}
