package push

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	latency     *prometheus.HistogramVec
	clients     prometheus.Gauge
	nacks       *prometheus.CounterVec
	responses   *prometheus.CounterVec
	resources   *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	quarantined prometheus.Gauge
}

// typeMetrics are the series of one type, looked up once a stream.
type typeMetrics struct {
	responses, resources, bytes, nacks prometheus.Counter
	sent, acked                        prometheus.Observer
}

func (m *metrics) of(url string) *typeMetrics {
	l := label(url)
	return &typeMetrics{
		responses: m.responses.WithLabelValues(l), resources: m.resources.WithLabelValues(l), bytes: m.bytes.WithLabelValues(l),
		nacks: m.nacks.WithLabelValues(l), sent: m.latency.WithLabelValues("sent", l), acked: m.latency.WithLabelValues("acked", l),
	}
}

// newMetrics registers with reg unless it is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fairlead_push_latency_seconds",
			Help:    "From a snapshot's publication to a response being sent (stage sent) and acknowledged (stage acked). First responses of a type are not counted.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"stage", "type"}),
		clients:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_xds_clients", Help: "Connected ADS streams."}),
		nacks:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_xds_nacks_total", Help: "Responses that clients rejected."}, []string{"type"}),
		responses:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_xds_responses_total", Help: "Responses sent."}, []string{"type"}),
		resources:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_xds_resources_total", Help: "Resources sent, removals included."}, []string{"type"}),
		bytes:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_xds_bytes_total", Help: "Bytes of resources sent, before compression and framing."}, []string{"type"}),
		quarantined: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_xds_quarantined", Help: "Resources that some Envoy version rejected and that are held back."}),
	}
	if reg != nil {
		reg.MustRegister(m.latency, m.clients, m.nacks, m.responses, m.resources, m.bytes, m.quarantined)
	}
	return m
}
