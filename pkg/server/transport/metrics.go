package transport

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	failures   *prometheus.CounterVec
	handshakes prometheus.Histogram
	strangers  prometheus.Gauge
	ended      *prometheus.CounterVec
	denied     *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_tls_handshake_failures_total", Help: "Connections to the TLS port that came to nothing, by reason.",
		}, []string{"reason"}),
		handshakes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fairlead_tls_handshake_seconds", Help: "Duration of the handshakes that succeeded.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}),
		strangers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_tls_strangers", Help: "Connections to the TLS port whose holders are not known yet.",
		}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_tls_streams_ended_total", Help: "Streams that ended with their credential, by reason: expires, revoked.",
		}, []string{"reason"}),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_tls_calls_denied_total", Help: "Calls of known callers that are not theirs to make, by reason: method, node, client, type, streams.",
		}, []string{"reason"}),
	}
	if r != nil {
		r.MustRegister(m.failures, m.handshakes, m.strangers, m.ended, m.denied)
	}
	return m
}
