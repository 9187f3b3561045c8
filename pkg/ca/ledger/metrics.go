package ledger

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	expiry  = prometheus.NewDesc("fairlead_ca_certificate_expiry_seconds", "Time that the valid certificates of this replica still have, now.", nil, nil)
	dropped = prometheus.NewDesc("fairlead_ca_ledger_dropped_total", "Valid certificates that the ledger had no room for.", nil, nil)
	// buckets are in seconds: a minute to thirty days.
	buckets = []float64{60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 48 * 3600, 7 * 24 * 3600, 30 * 24 * 3600}
)

// Describe implements prometheus.Collector.
func (l *Ledger) Describe(ch chan<- *prometheus.Desc) {
	ch <- expiry
	ch <- dropped
}

// Collect implements prometheus.Collector: the histogram is of what is valid at this moment, so its counts fall too.
func (l *Ledger) Collect(ch chan<- prometheus.Metric) {
	counts, count, sum := map[float64]uint64{}, uint64(0), 0.0
	now := l.now()
	l.mu.Lock()
	for _, e := range l.entries {
		left := e.NotAfter.Sub(now).Seconds()
		if left <= 0 {
			continue
		}
		count++
		sum += left
		for _, b := range buckets {
			if left <= b {
				counts[b]++
			}
		}
	}
	lost := l.dropped
	l.mu.Unlock()
	ch <- prometheus.MustNewConstHistogram(expiry, count, sum, counts)
	ch <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(lost))
}
