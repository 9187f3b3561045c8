package keeper

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	renewals *prometheus.CounterVec
	lapsed   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, k *Keeper) *metrics {
	m := &metrics{
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_node_svid_renewals_total",
			Help: "Certificates asked for, by outcome: issued (a first one), renewed, refused (this one), unavailable (the call failed as a whole).",
		}, []string{"outcome"}),
		lapsed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_node_svids_lapsed_total", Help: "SVIDs that ended without having been renewed.",
		}),
	}
	for _, o := range []string{"issued", "renewed", "refused", "unavailable"} {
		m.renewals.WithLabelValues(o)
	}
	if reg != nil {
		reg.MustRegister(m.renewals, m.lapsed, &states{
			k:     k,
			svids: prometheus.NewDesc("fairlead_node_svids", "Identities of this node, by state: valid, failing (valid, and its renewal fails), pending (none yet).", []string{"state"}, nil),
			next:  prometheus.NewDesc("fairlead_node_svid_next_expiry_seconds", "Seconds until the next SVID of this node ends; absent without any.", nil, nil),
		})
	}
	return m
}

// states counts identities when it is asked.
type states struct {
	k           *Keeper
	svids, next *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (s *states) Describe(c chan<- *prometheus.Desc) { c <- s.svids; c <- s.next }

// Collect implements prometheus.Collector.
func (s *states) Collect(c chan<- prometheus.Metric) {
	count := map[string]int{Valid: 0, Failing: 0, Pending: 0}
	var least float64
	for _, i := range s.k.Identities() {
		count[i.State]++
		if left := i.Left.Seconds(); i.State != Pending && (least == 0 || left < least) {
			least = left
		}
	}
	for state, n := range count {
		c <- prometheus.MustNewConstMetric(s.svids, prometheus.GaugeValue, float64(n), state)
	}
	if least > 0 {
		c <- prometheus.MustNewConstMetric(s.next, prometheus.GaugeValue, least)
	}
}
