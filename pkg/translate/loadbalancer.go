package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

// balance sets the load balancer and its slow start.
func balance(out *clusterv3.Cluster, c *model.Cluster) {
	lb := &c.Policy.LB
	if out.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		out.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		return
	}
	if l := lb.Locality; l != nil && l.Enabled && len(l.Distribute) > 0 {
		// Without it Envoy does not look at the localities' weights.
		out.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	switch lb.Kind {
	case model.LBRoundRobin:
		out.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if lb.Warmup != nil {
			out.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slowStart(lb.Warmup)},
			}
		}
	case model.LBRandom:
		out.LbPolicy = clusterv3.Cluster_RANDOM
	case model.LBRingHash:
		out.LbPolicy = clusterv3.Cluster_RING_HASH
		if lb.RingMinimum > 0 {
			out.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{
				RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(lb.RingMinimum)},
			}
		}
	case model.LBMaglev:
		out.LbPolicy = clusterv3.Cluster_MAGLEV
		if lb.MaglevTable > 0 {
			out.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{
				MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(lb.MaglevTable)},
			}
		}
	default:
		out.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if lb.Warmup != nil {
			out.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{
				LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slowStart(lb.Warmup)},
			}
		}
	}
}

// slowStart raises the weight of a new endpoint over a window.
func slowStart(w *model.Warmup) *clusterv3.Cluster_SlowStartConfig {
	out := &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow:  duration(w.Duration),
		MinWeightPercent: &typev3.Percent{Value: float64(w.MinimumPercent)},
	}
	if w.Aggression > 0 {
		out.Aggression = &corev3.RuntimeDouble{DefaultValue: w.Aggression, RuntimeKey: "fairlead.slow_start.aggression"}
	}
	return out
}
