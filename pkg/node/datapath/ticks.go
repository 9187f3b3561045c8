package datapath

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ticks finds out how many ticks the kernel has a second (CONFIG_HZ): its coarse clocks are exact to one.
func ticks() (uint32, error) {
	var tick unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick); err != nil {
		return 0, fmt.Errorf("look at the kernel's clock: %w", err)
	}
	if tick.Nano() <= 0 || tick.Nano() > int64(time.Second) {
		return 0, fmt.Errorf("look at the kernel's clock: a tick is %d ns", tick.Nano())
	}
	return uint32((int64(time.Second) + tick.Nano()/2) / tick.Nano()), nil
}
