package main

import (
	"slices"
	"time"
)

// quantile is the value below which the share q of values lies; values is sorted by it. Zero without values.
func quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }
