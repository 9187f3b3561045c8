package agent

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/endpoints"
	"fairlead.io/fairlead/pkg/node/flows"
)

// A connection whose permission is withdrawn ends by an error on both sides, and not in silence. Its packets are dropped from the first
// one on; then the sockets of pods of this node are destroyed, for two reasons that each are not enough: a program has told that it
// dropped a packet of a connection that it had allowed before, which nobody sends while it is idle; and a policy has changed, by which
// connections are looked at one by one.

// tap tells of packets of connections that are allowed no more.
type tap struct {
	flows.Reader
	out chan<- datapath.Event
}

// Read implements flows.Reader.
func (t *tap) Read(e *datapath.Event) error {
	err := t.Reader.Read(e)
	if err == nil && e.Kind == datapath.FlowDenied && e.Established && e.Protocol == unix.IPPROTO_TCP {
		select {
		case t.out <- *e:
		default: // there will be another one
		}
	}
	return err
}

// resetTime is how often connections are looked at, at most.
const resetTime = 200 * time.Millisecond

// reset destroys sockets until ctx ends.
func (x *enforcer) reset(ctx context.Context) error {
	tick := time.NewTicker(resetTime)
	defer tick.Stop()
	var told []datapath.Event
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-x.withdrawn:
			if told = append(told, e); len(told) < cap(x.withdrawn) {
				continue
			}
		case <-tick.C:
		}
		narrowed := x.engine.Narrowed()
		if x.cfg.Audit || len(told)+len(narrowed) == 0 {
			told = nil
			continue
		}
		if err := x.resetAll(told, narrowed); err != nil {
			x.log.Warn("not all connections that are allowed no more were reset; their packets are dropped", "error", err)
		}
		told = nil
	}
}

func (x *enforcer) resetAll(told []datapath.Event, narrowed []string) error {
	spaces, err := x.host.Namespaces(x.proc())
	if err != nil {
		return err
	}
	// What has to go, by pod: everything that is allowed no more, and these.
	doomed := map[string]map[endpoints.Connection]bool{}
	for i := range told {
		e := &told[i]
		from, to := netip.AddrPortFrom(e.Source, e.SourcePort), netip.AddrPortFrom(e.Destination, e.DestinationPort)
		for _, c := range []endpoints.Connection{{Client: from, Server: to}, {Client: to, Server: from}} {
			if uid := x.engine.Local(c.Client.Addr()); uid != "" {
				if doomed[uid] == nil {
					doomed[uid] = map[endpoints.Connection]bool{}
				}
				doomed[uid][c] = true
			}
		}
	}
	for _, uid := range narrowed {
		if doomed[uid] == nil {
			doomed[uid] = map[endpoints.Connection]bool{}
		}
	}
	var last error
	real := &translation{host: x.host}
	for uid, list := range doomed {
		path := spaces[uid]
		if path == "" {
			continue // it has no process any more, and no socket
		}
		if err := x.resetPod(uid, path, list, real); err != nil {
			last = err
		}
	}
	return last
}

// resetPod destroys the sockets of one pod. Doomed has them with the pod as the client.
func (x *enforcer) resetPod(uid, path string, doomed map[endpoints.Connection]bool, real *translation) error {
	list, err := x.host.Sockets(path)
	if err != nil {
		return err
	}
	var out []endpoints.Socket
	for _, s := range list {
		if s.Remote.Addr().IsLoopback() {
			continue
		}
		other := s.Remote
		if !s.Inbound && !x.engine.Known(other.Addr()) {
			if other, err = real.of(endpoints.Connection{Client: s.Local, Server: s.Remote}); err != nil {
				return err
			}
		}
		port := other.Port()
		if s.Inbound {
			port = s.Local.Port()
		}
		if doomed[endpoints.Connection{Client: s.Local, Server: other}] || !x.engine.Permits(uid, s.Inbound, other.Addr(), unix.IPPROTO_TCP, port) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil
	}
	x.log.Info("connections are allowed no more and reset", "uid", uid, "connections", len(out))
	return x.host.Destroy(path, out)
}

// translation asks for what connections really are when somebody needs it, once.
type translation struct {
	host *endpoints.Host
	all  map[endpoints.Connection]netip.AddrPort
}

func (t *translation) of(c endpoints.Connection) (netip.AddrPort, error) {
	if t.all == nil {
		var err error
		if t.all, err = t.host.Translated(); err != nil {
			return c.Server, err
		}
	}
	if to, ok := t.all[c]; ok {
		return to, nil
	}
	return c.Server, nil
}

func (x *enforcer) proc() string {
	if x.cfg.Proc == "" {
		return "/proc"
	}
	return x.cfg.Proc
}
