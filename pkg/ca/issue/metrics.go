package issue

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/pkg/ca/ledger"
)

type metrics struct {
	latency  *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, l *ledger.Ledger) (*metrics, error) {
	m := &metrics{
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fairlead_ca_issue_seconds",
			Help:    "Time from the decision to the signature of what was issued, by kind: workload, node, gateway, replica, jwt.",
			Buckets: []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 500e-3, 2.5},
		}, []string{"kind"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_ca_failures_total", Help: "Certificates and tokens that were refused or could not be signed, by reason.",
		}, []string{"reason"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.latency, m.failures, l} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the certificate service: %w", err)
		}
	}
	return m, nil
}
