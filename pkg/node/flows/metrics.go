package flows

import (
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// metrics count what comes as events, and show what the kernel counts.
type metrics struct {
	flows *prometheus.CounterVec
	lost  *prometheus.CounterVec
	drops *drops // nil without Counters
}

func newMetrics(o *Observer) *metrics {
	m := &metrics{
		flows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_node_flows_total",
			Help: "Events of flows, by verdict (forwarded, dropped, audit), event (new, closed, denied, audited), direction and protocol. Some may be lost; drops are counted exactly in fairlead_node_drops_total.",
		}, []string{"verdict", "event", "direction", "protocol"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_node_flow_events_lost_total", Help: "Events that were lost, by where: kernel (the ring buffer was full), observer (one was too slow).",
		}, []string{"where"}),
	}
	for _, where := range []string{"kernel", "observer"} {
		m.lost.WithLabelValues(where)
	}
	if o.cfg.Counters != nil {
		m.drops = newDrops(o.cfg)
	}
	if r := o.cfg.Registry; r != nil {
		r.MustRegister(m.flows, m.lost)
		if m.drops != nil {
			r.MustRegister(m.drops)
		}
	}
	return m
}

// ForgetDrops takes the kernel's counters of a Set away that is no more, and keeps their sums for the metrics.
func (o *Observer) ForgetDrops(set uint32) error {
	if o.metrics.drops == nil {
		return nil
	}
	return o.metrics.drops.forget(set)
}

func (m *metrics) count(e *datapath.Event) {
	outcome, event := "forwarded", "new"
	switch e.Kind {
	case datapath.FlowClosed:
		event = "closed"
	case datapath.FlowDenied:
		outcome, event = "dropped", "denied"
	case datapath.FlowAudited:
		outcome, event = "audit", "audited"
	}
	m.flows.WithLabelValues(outcome, event, directionName(direction(e)), protocolName(e.Protocol)).Inc()
}

func directionName(d verdict.Direction) string {
	if d == verdict.Ingress {
		return "ingress"
	}
	return "egress"
}

func protocolName(p uint8) string {
	switch p {
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoSCTP:
		return "sctp"
	case protoICMP:
		return "icmpv4"
	case protoICMPv6:
		return "icmpv6"
	}
	return "other"
}

// drops shows the kernel's counters when it is asked, summed up so that there are few. They never go back: what a Set has counted
// stays when the Set is taken away.
type drops struct {
	cfg            Config
	packets, bytes *prometheus.Desc

	mu sync.Mutex // guards what follows, and is held while the kernel is read
	// gone are the sums of Sets that are no more.
	gone map[dropLabels]*dropSum
}

type dropLabels struct{ reason, direction, verdict string }

type dropSum struct{ packets, bytes uint64 }

func newDrops(cfg Config) *drops {
	labels := []string{"reason", "direction", "verdict"}
	return &drops{
		cfg:     cfg,
		packets: prometheus.NewDesc("fairlead_node_drops_total", "Packets that policy has dropped (verdict dropped), or would have if it were not in audit mode (audit), by reason and direction. Exact.", labels, nil),
		bytes:   prometheus.NewDesc("fairlead_node_drop_bytes_total", "Bytes of fairlead_node_drops_total.", labels, nil),
		gone:    map[dropLabels]*dropSum{},
	}
}

func labelsOf(k *datapath.DropKey) dropLabels {
	l := dropLabels{ReasonName(k.Reason), directionName(k.Direction), "dropped"}
	if k.Audited {
		l.verdict = "audit"
	}
	return l
}

// ReasonName is the word that people know for a reason: "POLICY_DENIED".
func ReasonName(r datapath.Reason) string {
	if name, ok := flow.DropReason_name[int32(r)]; ok {
		return name
	}
	return fmt.Sprintf("REASON_%d", r)
}

func sum(of map[dropLabels]*dropSum, d *datapath.Drop) {
	l := labelsOf(&d.DropKey)
	if of[l] == nil {
		of[l] = &dropSum{}
	}
	of[l].packets += d.Packets
	of[l].bytes += d.Bytes
}

// Describe implements prometheus.Collector.
func (d *drops) Describe(c chan<- *prometheus.Desc) { c <- d.packets; c <- d.bytes }

// Collect implements prometheus.Collector.
func (d *drops) Collect(c chan<- prometheus.Metric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := map[dropLabels]*dropSum{}
	for l, s := range d.gone {
		now[l] = &dropSum{s.packets, s.bytes}
	}
	if err := d.cfg.Counters.Drops(func(x datapath.Drop) bool { sum(now, &x); return true }); err != nil {
		c <- prometheus.NewInvalidMetric(d.packets, fmt.Errorf("read the kernel's counters: %w", err))
		return
	}
	for l, s := range now {
		values := []string{l.reason, l.direction, l.verdict}
		c <- prometheus.MustNewConstMetric(d.packets, prometheus.CounterValue, float64(s.packets), values...)
		c <- prometheus.MustNewConstMetric(d.bytes, prometheus.CounterValue, float64(s.bytes), values...)
	}
}

// forget takes the counters of a Set away and keeps their sums.
func (d *drops) forget(set uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	list, err := d.cfg.Counters.ForgetDrops(set)
	for i := range list {
		sum(d.gone, &list[i])
	}
	return err
}
