package translate

import (
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

const (
	byStatusCode = "retriable-status-codes"
	// otherHostAttempts is how often Envoy draws another host when it drew one that has failed already.
	otherHostAttempts = 5
	// envoyBackoff is Envoy's base interval between retries.
	envoyBackoff = 25 * time.Millisecond
)

// retryPolicy is nil when there is nothing to retry.
func retryPolicy(r *model.Retry) *routev3.RetryPolicy {
	if r == nil || r.Attempts == 0 {
		return nil
	}
	on := r.On
	if len(r.StatusCodes) > 0 && !slices.Contains(strings.Split(on, ","), byStatusCode) {
		on = strings.TrimPrefix(on+","+byStatusCode, ",")
	}
	out := &routev3.RetryPolicy{
		RetryOn:              on,
		NumRetries:           wrapperspb.UInt32(r.Attempts),
		RetriableStatusCodes: r.StatusCodes,
		RetryBackOff:         backoff(r),
	}
	if r.PerTryTimeout != nil && *r.PerTryTimeout > 0 {
		out.PerTryTimeout = duration(*r.PerTryTimeout)
	}
	if r.IgnorePreviousHosts {
		out.HostSelectionRetryMaxAttempts = otherHostAttempts
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pack(&hostsv3.PreviousHostsPredicate{}),
			},
		}}
	}
	if r.RemoteLocalities {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				// Every second attempt leaves the priorities behind that were tried (as Istio does).
				TypedConfig: pack(&prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 2}),
			},
		}
	}
	return out
}

// backoff is nil for Envoy's default: random up to 25 ms, then doubling up to 250 ms.
func backoff(r *model.Retry) *routev3.RetryPolicy_RetryBackOff {
	if r.BackoffBase <= 0 && r.BackoffMax <= 0 {
		return nil
	}
	base := r.BackoffBase
	if base <= 0 {
		base = envoyBackoff
		if r.BackoffMax < base {
			base = r.BackoffMax
		}
	}
	out := &routev3.RetryPolicy_RetryBackOff{BaseInterval: duration(base)}
	if r.BackoffMax > 0 {
		out.MaxInterval = duration(max(base, r.BackoffMax)) // a smaller one is refused
	}
	return out
}
