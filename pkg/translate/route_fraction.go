package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

const million = 1_000_000

// fraction is a share in millionths of the requests.
func fraction(millionths uint32) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{
		Numerator: min(millionths, million), Denominator: typev3.FractionalPercent_MILLION,
	}
}

// runtimeFraction is fraction where Envoy wants one that its runtime could override. No key is set, so that it cannot.
func runtimeFraction(millionths uint32) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: fraction(millionths)}
}
