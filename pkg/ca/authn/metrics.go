package authn

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	refusals      *prometheus.CounterVec
	verifications *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_authn_refusals_total", Help: "Calls whose caller was not believed, by reason.",
		}, []string{"reason"}),
		verifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_authn_token_verifications_total",
			Help: "Verifications of tokens, by method (cached, token-jwks, token-review) and outcome (ok, refused, failed).",
		}, []string{"method", "outcome"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.refusals, m.verifications} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of authentication: %w", err)
		}
	}
	return m, nil
}
