package v1alpha1

import (
	"errors"
	"fmt"
	"time"
)

// Duration is a span of time as the user wrote it: "5s", "1.5s", "1h30m",
// "250ms". It stays a string so that writing an object back never rewrites what
// the user typed, and so that a malformed one is a condition on the object
// instead of an object that cannot be decoded. Empty means absent.
//
// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`
// +kubebuilder:validation:MaxLength=32
type Duration string

// errDurationForm explains the accepted form to the person who wrote the value.
var errDurationForm = errors.New(`want digits with units ns, us, ms, s, m or h, such as "1.5s" or "1h30m", without a sign`)

// Parse returns the span. It refuses an empty string, a sign, a number without
// a unit and a span that does not fit into time.Duration (about 292 years).
// Zero is returned as it is: whether it is allowed depends on the field.
func (d Duration) Parse() (time.Duration, error) {
	if d == "" || d[0] < '0' || d[0] > '9' {
		return 0, fmt.Errorf("parse duration %q: %w", string(d), errDurationForm)
	}
	v, err := time.ParseDuration(string(d))
	if err != nil {
		return 0, fmt.Errorf("parse duration %q: %w", string(d), errDurationForm)
	}
	return v, nil
}
