package translate

import (
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"

	"fairlead.io/fairlead/pkg/model"
)

const faultFilter = "envoy.filters.http.fault"

// fault is nil when it would do nothing.
func fault(f *model.Fault) *faultv3.HTTPFault {
	out := &faultv3.HTTPFault{}
	if f.Delay > 0 && f.DelayMillionths > 0 {
		out.Delay = &commonv3.FaultDelay{
			FaultDelaySecifier: &commonv3.FaultDelay_FixedDelay{FixedDelay: duration(f.Delay)},
			Percentage:         fraction(f.DelayMillionths),
		}
	}
	if f.AbortMillionths > 0 {
		abort := &faultv3.FaultAbort{Percentage: fraction(f.AbortMillionths)}
		switch {
		case f.AbortGRPC != nil:
			abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: *f.AbortGRPC}
			out.Abort = abort
		case f.AbortHTTP != 0:
			abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: f.AbortHTTP}
			out.Abort = abort
		}
	}
	if out.Delay == nil && out.Abort == nil {
		return nil
	}
	return out
}
