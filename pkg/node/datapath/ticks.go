package datapath

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// ticks finds out how many ticks the kernel has a second (CONFIG_HZ), which it tells nobody: it counts them from five minutes before
// the machine's start, modulo 2^32, and of the rates that there are only one agrees with the clock.
func ticks() (uint32, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.FnJiffies64.Call(), asm.Return()},
	})
	if err != nil {
		return 0, fmt.Errorf("load program that reads ticks: %w", err)
	}
	defer func() { _ = p.Close() }()
	count, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 14)})
	if err != nil {
		return 0, fmt.Errorf("read ticks: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("read clock: %w", err)
	}
	return nearest(count, now.Nano()), nil
}

// nearest gives the rate by which a count of ticks is nearest to what a clock in nanoseconds says.
func nearest(count uint32, nanoseconds int64) (rate uint32) {
	const before = 300 // seconds
	least := int64(1) << 62
	for _, hz := range []int64{100, 250, 300, 1000, 128, 256, 512, 1024} {
		expected := uint32(nanoseconds/1000*hz/1_000_000 - before*hz)
		apart := int64(int32(count - expected))
		// In seconds: what the clock was corrected by counts for all rates alike.
		if apart = max(apart, -apart) * 1_000_000 / hz; apart < least {
			least, rate = apart, uint32(hz)
		}
	}
	return rate
}
