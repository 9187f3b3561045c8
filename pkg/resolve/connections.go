package resolve

import (
	"time"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// idleDefault is how long Envoy lets a connection be idle when nothing is said (TcpProxy.idle_timeout).
const idleDefault = time.Hour

// of is the policy of one port of a host, or of a subset of it ("" for none), whether or not it has a DestinationRule.
func (p *Policies) of(r *table.Reader, h *model.Host, port uint16, subset string) model.TrafficPolicy {
	if own, ok := table.Get(r, p.Table, h.Key()); ok {
		return own.For(port, subset)
	}
	return defaultPolicy(h)
}

// limitConnections applies the policy of a destination to the connections of a route. Envoy has one set of limits a route:
// of several destinations the shortest times count, and a hash that any of them asks for.
func limitConnections(t *model.TCPRoute, p model.TrafficPolicy) {
	c := &t.Connections
	if d := p.Pool.TCPIdleTimeout; d != nil && (len(t.Backends) == 1 || endless(*d) < idle(c.IdleTimeout)) {
		c.IdleTimeout = d
	}
	if d := p.Pool.MaxDuration; d != nil && (c.MaxDuration == nil || *d < *c.MaxDuration) {
		c.MaxDuration = d
	}
	c.HashSourceIP = c.HashSourceIP || p.LB.Hash != nil && p.LB.Hash.SourceIP
}

// idle is an idle timeout as it takes effect.
func idle(d *time.Duration) time.Duration {
	if d == nil {
		return idleDefault
	}
	return endless(*d)
}

// endless reads a timeout of zero, which is none.
func endless(d time.Duration) time.Duration {
	if d == 0 {
		return 1<<63 - 1
	}
	return d
}
