package workloadapi

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	calls   *prometheus.CounterVec
	streams *prometheus.GaugeVec
	push    *prometheus.HistogramVec
	tokens  *prometheus.CounterVec
}

// newMetrics registers with reg unless it is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_workload_api_calls_total", Help: "Calls and streams that have ended, by method and gRPC code.",
		}, []string{"method", "code"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairlead_workload_api_streams", Help: "Open streams.",
		}, []string{"method"}),
		push: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fairlead_workload_api_push_seconds",
			Help:    "From a change of an SVID or of bundles to its message being sent on one stream. First messages are not counted.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1},
		}, []string{"method"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_workload_api_jwt_svids_total", Help: "JWT-SVIDs given, by where they came from (kept, signed).",
		}, []string{"from"}),
	}
	if reg != nil {
		reg.MustRegister(m.calls, m.streams, m.push, m.tokens)
	}
	return m
}
