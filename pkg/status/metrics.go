package status

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	writes *prometheus.CounterVec
	errors *prometheus.CounterVec
	queue  prometheus.Gauge
	leader prometheus.Gauge
}

// newMetrics registers with reg unless it is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_status_writes_total", Help: "Statuses written."}, []string{"kind"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_status_errors_total",
			Help: "Statuses that could not be written, by the API server's reason. FieldManagerConflict: another controller's, left alone.",
		}, []string{"kind", "reason"}),
		queue:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_status_queue_depth", Help: "Objects whose status waits to be looked at."}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_status_leader", Help: "1 on the replica that writes status."}),
	}
	if reg != nil {
		reg.MustRegister(m.writes, m.errors, m.queue, m.leader)
	}
	return m
}
