package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/nodetest"
	"fairlead.io/fairlead/pkg/verdict"
)

// asAgent is the argument by which the test's binary is an agent, with a file of its configuration.
const asAgent = "be-an-agent"

// processConfig is what such an agent is told.
type processConfig struct {
	Server, Token, TrustHash, SDSSocket, Admin string
	Policy                                     PolicyConfig
}

func beAgent(file string) int {
	var c processConfig
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err == nil {
		err = Run(context.Background(), Config{
			Servers: []string{c.Server}, ServerID: nodetest.ServerID, Node: "node-a", Token: c.Token, TrustHash: c.TrustHash, SDSSocket: c.SDSSocket,
			SDSGroup: -1, Admin: c.Admin, Policy: &c.Policy, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// process runs the agent as a process of its own, which can be killed.
type process struct {
	*exec.Cmd
	done chan struct{}
}

func (r *policyRig) process() *process {
	r.t.Helper()
	file := filepath.Join(r.dir, "config.json")
	p := *r.cfg.Policy
	p.Namespace = "/proc/self/fd/3"
	raw, err := json.Marshal(processConfig{r.cfg.Servers[0], r.cfg.Token, r.cfg.TrustHash, r.cfg.SDSSocket, r.cfg.Admin, p})
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	out := &process{exec.Command(self, asAgent, file), make(chan struct{})}
	out.ExtraFiles = []*os.File{os.NewFile(uintptr(r.node.dup()), "netns")}
	out.Stderr = r.log
	err = out.Start()
	_ = out.ExtraFiles[0].Close()
	if err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_ = out.Wait() // killed, which is no news
		close(out.done)
	}()
	r.t.Cleanup(out.kill)
	return out
}

func (p *process) kill() {
	_ = p.Process.Kill()
	<-p.done
}

// prober sends a datagram from a port of its own, again and again, and counts those that were answered and those that were not.
type prober struct {
	answered, silent, failed atomic.Int64
}

// run probes until ctx ends; a probe that should be answered is waited for.
func (p *prober) run(ctx context.Context, from *pod, to netip.AddrPort, within time.Duration) {
	_ = from.do(func() error {
		for ctx.Err() == nil {
			err := probe(to, within)
			var timeout net.Error
			switch {
			case err == nil:
				p.answered.Add(1)
			case errors.As(err, &timeout) && timeout.Timeout():
				p.silent.Add(1)
			default:
				p.failed.Add(1)
			}
		}
		return nil
	})
}

func probe(to netip.AddrPort, within time.Duration) error {
	c, err := net.Dial("udp", to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err = c.Write([]byte("x")); err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	return err
}

// answer echoes datagrams, and counts those of an address that must not come.
func (s *space) answer(port int, never ...netip.Addr) *atomic.Int64 {
	s.t.Helper()
	var u net.PacketConn
	if err := s.do(func() (err error) {
		u, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	var wrong atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 16)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			at := from.(*net.UDPAddr).AddrPort().Addr().Unmap()
			for _, a := range never {
				if a == at {
					wrong.Add(1)
				}
			}
			_, _ = u.WriteTo(b[:n], from)
		}
	}()
	s.t.Cleanup(func() {
		_ = u.Close()
		<-done
	})
	return &wrong
}

// udp allows a PeerSet to the port 53, and has another rule, whose port changes with each edit.
func udp(edit int) *verdict.Set {
	s := isolated("app=web", "app=other")
	s.Rules[0].Ports = []verdict.Ports{{Protocol: 17, First: 53, Last: 53}}
	s.Rules[1].Ports = []verdict.Ports{{Protocol: 17, First: uint16(1000 + edit), Last: uint16(2000 + edit)}}
	return s
}

// TestKilled kills the agent at any moment of many edits. Who is allowed by every state is answered every time, and who is denied by
// every state never comes through: with bridges and with routes.
func TestKilled(t *testing.T) {
	r := newPolicyRig(t)
	web, db, evil := r.node.pod("web", "cluster.local/ns/shop/sa/web/1", 2, true), r.node.pod("db", "cluster.local/ns/shop/sa/db/1", 3, false), r.node.pod("evil", "cluster.local/ns/shop/sa/evil/1", 4, true)
	wrong := db.answer(53, evil.addresses...)
	r.place(web, db, evil)
	r.set("cluster.local/ns/shop/sa/web/1", &verdict.Set{})
	r.set("cluster.local/ns/shop/sa/evil/1", &verdict.Set{})
	r.peerSet("app=web", "cluster.local/ns/shop/sa/web/1")
	r.peerSet("app=other")
	r.set("cluster.local/ns/shop/sa/db/1", udp(0))
	p := r.process()
	r.enforced(3)

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var good, bad [2]prober
	for i, a := range db.addresses {
		running.Go(func() { good[i].run(ctx, web, netip.AddrPortFrom(a, 53), patience) })
		running.Go(func() { bad[i].run(ctx, evil, netip.AddrPortFrom(a, 53), time.Millisecond) })
	}
	running.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			r.set("cluster.local/ns/shop/sa/db/1", udp(n%5000))
			r.peerSet("app=other", fmt.Sprintf("cluster.local/ns/shop/sa/other-%d", n%7), fmt.Sprintf("cluster.local/ns/shop/sa/other-%d", n%11))
			r.peerSet("app=web", "cluster.local/ns/shop/sa/web/1", fmt.Sprintf("cluster.local/ns/shop/sa/zzz-%d", n%3))
			time.Sleep(2 * time.Millisecond)
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		time.Sleep(time.Duration(50+random.IntN(250)) * time.Millisecond)
		p.kill()
		p = r.process()
	}
	r.enforced(3)
	time.Sleep(200 * time.Millisecond)
	cancel()
	running.Wait()
	for i := range db.addresses {
		t.Logf("allowed: %d answered, %d silent, %d failed; denied: %d silent, %d answered, %d failed", good[i].answered.Load(), good[i].silent.Load(), good[i].failed.Load(),
			bad[i].silent.Load(), bad[i].answered.Load(), bad[i].failed.Load())
		if good[i].answered.Load() < 100 || good[i].silent.Load()+good[i].failed.Load() > 0 {
			t.Error("an allowed datagram was not answered, or too few were sent")
		}
		if bad[i].silent.Load() < 100 || bad[i].answered.Load() > 0 {
			t.Error("a denied datagram was answered, or too few were sent")
		}
	}
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d denied datagrams came through", n)
	}

	// A pod that goes while nobody looks leaves nothing behind.
	p.kill()
	r.node.ip("link del " + evil.veth)
	p = r.process()
	r.server.Finish(evil.uid)
	r.enforced(2)
	p.kill()
	links, err := os.ReadDir(filepath.Join(r.cfg.Policy.Dir, "links"))
	if err != nil || len(links) != 2*2+6 {
		t.Errorf("%d links are pinned, %v: %v", len(links), links, err)
	}
	d, err := datapath.Open(datapath.Config{Dir: r.cfg.Policy.Dir, Sizes: r.cfg.Policy.Sizes})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Addresses(func(a netip.Addr, x datapath.Address) bool {
		for _, e := range evil.addresses {
			if a == e && x.Interface != 0 {
				t.Errorf("address %s is %+v still", a, x)
			}
		}
		return true
	}); err != nil {
		t.Error(err)
	}
}
