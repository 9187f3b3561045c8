package rotate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/pkg/ca/authority"
)

type metrics struct {
	stage       *prometheus.GaugeVec
	age         prometheus.Gauge
	behind      prometheus.Gauge
	ends        prometheus.Gauge
	store       prometheus.Gauge
	transitions *prometheus.CounterVec
}

// newMetrics registers with reg unless it is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		stage: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairlead_ca_rotation_stage", Help: "1 for the stage that the rotation of the authority is in.",
		}, []string{"stage"}),
		age: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_ca_rotation_stage_age_seconds", Help: "For how long the rotation has been in its stage; 0 while there is none.",
		}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_ca_rotation_waiting", Help: "Nodes, agents and replicas whose acknowledgement the rotation waits for.",
		}),
		ends: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_ca_authority_nears_end", Help: "1 while the authority that signs is mounted and nears its end: another one must be mounted.",
		}),
		store: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_ca_store_failing",
			Help: "1 while the authority's Secret, folder or mounted files cannot be read or written: what was read last stays in use, and no rotation goes on.",
		}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_ca_rotation_transitions_total", Help: "Transitions of the rotation that this replica made, by reason.",
		}, []string{"reason"}),
	}
	if reg != nil {
		reg.MustRegister(m.stage, m.age, m.behind, m.ends, m.store, m.transitions)
	}
	return m
}

// stages are all there are.
func stages() []authority.Stage {
	return []authority.Stage{authority.Stable, authority.Distributing, authority.Retiring, authority.Withdrawing}
}

// title is how people call a stage.
func title(s authority.Stage) string {
	if s == authority.Stable {
		return "Stable"
	}
	return string(s)
}

func (m *metrics) set(s *authority.State, waits []Waiting, now time.Time, store error) {
	m.store.Set(0)
	if store != nil {
		m.store.Set(1)
	}
	for _, stage := range stages() {
		v := 0.0
		if stage == s.Rotation.Stage {
			v = 1
		}
		m.stage.WithLabelValues(title(stage)).Set(v)
	}
	m.age.Set(0)
	m.behind.Set(0)
	if s.Rotation.Stage != authority.Stable {
		m.age.Set(now.Sub(s.Rotation.Since).Seconds())
	}
	if s.Rotation.Stage == authority.Distributing {
		m.behind.Set(float64(len(waits)))
	}
}
