package translate

import (
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matchcommonv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

// outlierDetection ejects endpoints that fail in a row. Envoy's ejection by success rate is off: a DestinationRule cannot
// say it.
func outlierDetection(out *clusterv3.Cluster, o *model.Outlier) {
	if o == nil {
		return
	}
	d := &clusterv3.OutlierDetection{
		EnforcingSuccessRate:           wrapperspb.UInt32(0),
		SplitExternalLocalOriginErrors: o.SplitLocal,
	}
	d.Consecutive_5Xx, d.EnforcingConsecutive_5Xx = inARow(o.Consecutive5xx)
	d.ConsecutiveGatewayFailure, d.EnforcingConsecutiveGatewayFailure = inARow(o.ConsecutiveGateway)
	if o.SplitLocal {
		d.ConsecutiveLocalOriginFailure, d.EnforcingConsecutiveLocalOriginFailure = inARow(o.ConsecutiveLocal)
		d.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
	}
	if o.Interval > 0 {
		d.Interval = duration(o.Interval)
	}
	if o.BaseEjection > 0 {
		d.BaseEjectionTime = duration(o.BaseEjection)
		if o.BaseEjection.Seconds() > 300 {
			d.MaxEjectionTime = duration(o.BaseEjection) // Envoy's default, 300 s, would cap it
		}
	}
	if o.MaxEjectionPercent != nil {
		d.MaxEjectionPercent = wrapperspb.UInt32(*o.MaxEjectionPercent)
	}
	out.OutlierDetection = d
	out.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: float64(o.MinHealthPercent)}
}

// inARow is a count and whether it is enforced, in percent. Absent leaves Envoy's defaults (5 errors of any kind eject,
// gateway errors alone do not); 0 turns the cause off.
func inARow(v *uint32) (count, enforcing *wrapperspb.UInt32Value) {
	switch {
	case v == nil:
		return nil, nil
	case *v == 0:
		return nil, wrapperspb.UInt32(0)
	}
	return wrapperspb.UInt32(*v), wrapperspb.UInt32(100)
}

// errorCodes says which HTTP statuses count as errors.
func errorCodes(codes []uint32) *httpv3.HttpProtocolOptions_OutlierDetection {
	if len(codes) == 0 {
		return nil
	}
	var any []*matchcommonv3.MatchPredicate
	for _, c := range codes {
		any = append(any, &matchcommonv3.MatchPredicate{Rule: &matchcommonv3.MatchPredicate_HttpResponseHeadersMatch{
			HttpResponseHeadersMatch: &matchcommonv3.HttpHeadersMatch{Headers: []*routev3.HeaderMatcher{{
				Name: ":status",
				HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
					MatchPattern: &matcherv3.StringMatcher_Exact{Exact: strconv.Itoa(int(c))},
				}},
			}}},
		}})
	}
	m := any[0]
	if len(any) > 1 { // a set has at least two rules
		m = &matchcommonv3.MatchPredicate{Rule: &matchcommonv3.MatchPredicate_OrMatch{
			OrMatch: &matchcommonv3.MatchPredicate_MatchSet{Rules: any},
		}}
	}
	return &httpv3.HttpProtocolOptions_OutlierDetection{ErrorMatcher: m}
}
