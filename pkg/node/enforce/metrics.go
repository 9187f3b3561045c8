package enforce

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	seconds *prometheus.HistogramVec
	failed  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, e *Engine) *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fairlead_node_policy_apply_seconds", Help: "From what was received to the kernel having it, by what it was.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 4, 10),
		}, []string{"what"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_node_policy_failures_total", Help: "Changes that the kernel did not get as a whole; they are tried again.",
		}, []string{"what"}),
	}
	if reg != nil {
		reg.MustRegister(m.seconds, m.failed, newCounts(e))
	}
	return m
}

func (m *metrics) took(what string, d time.Duration, err error) {
	m.seconds.WithLabelValues(what).Observe(d.Seconds())
	if err != nil {
		m.failed.WithLabelValues(what).Inc()
	}
}

// counts are taken when they are asked for.
type counts struct {
	e    *Engine
	objs *prometheus.Desc
	full *prometheus.Desc
}

func newCounts(e *Engine) *counts {
	return &counts{
		e: e,
		objs: prometheus.NewDesc("fairlead_node_policy_objects",
			"What policy is about here: endpoints (attached pods), unattached (pods of this node that are not), peers, addresses, identities, peer_sets, sets, waiting (identities of this node without the Set that they should have), rules.",
			[]string{"what"}, nil),
		full: prometheus.NewDesc("fairlead_node_policy_room_used_ratio", "How much is in the maps of what they have room for, by what: addresses, identities, rules, sets.", []string{"of"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *counts) Describe(out chan<- *prometheus.Desc) { out <- c.objs; out <- c.full }

// Collect implements prometheus.Collector.
func (c *counts) Collect(out chan<- prometheus.Metric) {
	n := c.e.Count()
	for what, v := range map[string]int{
		"endpoints": n.Endpoints, "unattached": n.Unattached, "peers": n.Peers, "addresses": n.Addresses, "identities": n.Identities,
		"peer_sets": n.PeerSets, "sets": n.Sets, "waiting": n.Waiting, "rules": n.Rules,
	} {
		out <- prometheus.MustNewConstMetric(c.objs, prometheus.GaugeValue, float64(v), what)
	}
	for of, x := range map[string]struct {
		used int
		room uint32
	}{
		"identities": {n.Identities, c.e.cfg.Identities}, "sets": {n.Sets, c.e.cfg.Sets}, "addresses": {n.Addresses, c.e.cfg.Addresses},
		"rules": {n.Rules, c.e.cfg.Rules},
	} {
		if x.room > 0 {
			out <- prometheus.MustNewConstMetric(c.full, prometheus.GaugeValue, float64(x.used)/float64(x.room), of)
		}
	}
}
