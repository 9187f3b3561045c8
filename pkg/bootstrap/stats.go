package bootstrap

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Statistics that Envoy keeps for every service and that nobody can use here: a fifth of what a service costs
// (docs/envoy-memory.md). Everything about traffic stays, and so do update_rejected and membership_*; the statistics of the
// managers (cluster_manager.*, listener_manager.*, http.*.scoped_rds.*) stay whole.
const (
	// How each cluster's EDS and each route table's RDS subscription fares: the server knows what each node has, and what
	// it acknowledged. The histogram among them, update_duration, is half of it all.
	subscriptionStats = `(cluster|http\..*\.rds)\..*\.(update_(attempt|empty|failure|success|time|duration|no_rebuild)|` +
		`version|version_text|init_fetch_timeout|config_reload|config_reload_time_ms|warming_state|assignment_[a-z_]*)`
	// Subsets, panic and zone-aware routing of the balancer: none is ever configured.
	balancerStats = `cluster\..*\.(lb_[a-z_]*|max_host_weight|default\.total_match_count)`
	// Breakers of the priority HIGH: no route has it.
	breakerStats = `cluster\..*\.circuit_breakers\.high\.[a-z_]*`
)

// statsConfig leaves out what is not worth its memory. The expressions match whole names.
func statsConfig() *metricsv3.StatsConfig {
	out := &matcherv3.ListStringMatcher{}
	for _, regex := range []string{subscriptionStats, balancerStats, breakerStats} {
		out.Patterns = append(out.Patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: regex},
		}})
	}
	return &metricsv3.StatsConfig{StatsMatcher: &metricsv3.StatsMatcher{
		StatsMatcher: &metricsv3.StatsMatcher_ExclusionList{ExclusionList: out},
	}}
}

// clusterManager gives a worker its copy of a cluster with the first request to it: a node with sixteen workers would else
// hold sixteen copies of thousands of clusters that nobody asks for.
func clusterManager() *bootstrapv3.ClusterManager {
	return &bootstrapv3.ClusterManager{EnableDeferredClusterCreation: true}
}
