package translate

import (
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

// setTimeouts sets the limits of a request. Without a timeout there is none (Istio, Gateway API); Envoy's default of 15 s
// would end long requests.
func setTimeouts(out *routev3.RouteAction, f *model.Forward) {
	out.Timeout = durationpb.New(0)
	if f.Timeout != nil {
		out.Timeout = duration(*f.Timeout)
	}
	if f.IdleTimeout != nil {
		out.IdleTimeout = duration(*f.IdleTimeout)
	}
	if f.MaxStreamDuration != nil {
		out.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: duration(*f.MaxStreamDuration)}
	}
}

// maxDuration is far below what Envoy refuses (about 292 years, where its nanoseconds overflow).
const maxDuration = 10 * 365 * 24 * time.Hour

// duration rounds up to Envoy's milliseconds, as 0 would mean "no limit". What Envoy refuses is bounded: negative ones become 0.
func duration(d time.Duration) *durationpb.Duration {
	if d <= 0 {
		return durationpb.New(0)
	}
	d = min(d, maxDuration)
	if rest := d % time.Millisecond; rest != 0 {
		d += time.Millisecond - rest
	}
	return durationpb.New(d)
}

// upgrades allows protocols beside WebSocket, which every connection manager of ours allows. CONNECT has a meaning of its
// own in Envoy and is not an upgrade that a route can ask for.
func upgrades(in []string) []*routev3.RouteAction_UpgradeConfig {
	var out []*routev3.RouteAction_UpgradeConfig
	seen := map[string]bool{}
	for _, u := range in {
		u = strings.ToLower(u)
		if u == "" || u == "connect" || u == "connect-udp" || seen[u] || !printable(u) {
			continue
		}
		seen[u] = true
		out = append(out, &routev3.RouteAction_UpgradeConfig{UpgradeType: u, Enabled: wrapperspb.Bool(true)})
	}
	return out
}
