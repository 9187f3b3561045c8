package resolve

import (
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

const defaultRetryOn = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"

// DefaultRetry is what a route gets that says nothing of retries, and what a VirtualService's retries start from, as in
// Istio.
func DefaultRetry() *model.Retry {
	return &model.Retry{Attempts: 2, On: defaultRetryOn, StatusCodes: []uint32{503}, IgnorePreviousHosts: true}
}

// retryConditions are the names that Envoy knows: x-envoy-retry-on and x-envoy-retry-grpc-on.
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
	"refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// retry converts retries; nil turns them off.
func (v *vsRun) retry(h *v1alpha1.HTTPRetry, path string) *model.Retry {
	out := DefaultRetry()
	if h == nil {
		return out
	}
	if h.Attempts == nil {
		v.warn(reasonInvalid, path+".attempts", "retries without attempts are off, as in Istio; set attempts")
	}
	if h.Attempts == nil || *h.Attempts == 0 {
		return nil
	}
	if *h.Attempts < 0 {
		v.refuse(reasonInvalid, path+".attempts", "%d is negative; use 0 to turn retries off", *h.Attempts)
		return nil
	}
	out.Attempts = uint32(*h.Attempts)
	out.PerTryTimeout = v.duration(h.PerTryTimeout, path+".perTryTimeout")
	if b := v.duration(h.Backoff, path+".backoff"); b != nil {
		out.BackoffBase = *b
	}
	if h.RetryOn != "" {
		v.retryOn(h.RetryOn, path+".retryOn", out)
	}
	out.RemoteLocalities = h.RetryRemoteLocalities != nil && *h.RetryRemoteLocalities
	if h.RetryIgnorePreviousHosts != nil {
		out.IgnorePreviousHosts = *h.RetryIgnorePreviousHosts
	}
	return out
}

// retryOn divides the list into Envoy's conditions and status codes, which Envoy has in a list of their own.
func (v *vsRun) retryOn(list, path string, out *model.Retry) {
	var names []string
	var codes []uint32
	for _, s := range strings.Split(list, ",") {
		s = strings.TrimSpace(s)
		if n, err := strconv.ParseUint(s, 10, 32); err == nil {
			if n < 100 || n > 599 {
				v.refuse(reasonInvalid, path, "%d is no HTTP status; use 100 to 599", n)
				continue
			}
			codes = append(codes, uint32(n))
			continue
		}
		if !slices.Contains(retryConditions, s) {
			if s != "" {
				v.refuse(reasonInvalid, path, "%q is no condition that Envoy retries on; use a status code or one of %s", s, strings.Join(retryConditions, ", "))
			}
			continue
		}
		names = append(names, s)
	}
	if len(codes) > 0 && !slices.Contains(names, "retriable-status-codes") {
		names = append(names, "retriable-status-codes")
	}
	if len(names) == 0 {
		return // nothing of it is usable: the default stays
	}
	out.On, out.StatusCodes = strings.Join(names, ","), codes
}
