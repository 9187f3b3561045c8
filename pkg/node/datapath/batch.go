package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// batch is how many entries go in one call.
const batch = 4096

// each calls fn for every entry of a map until it gives false or an error. Entries that come and go meanwhile are seen or not.
func each[K, V any](m *ebpf.Map, fn func(K, V) (bool, error)) error {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, batch), make([]V, batch)
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return fmt.Errorf("list map: %w", err)
		}
		for i := range n {
			if on, err := fn(keys[i], values[i]); err != nil || !on {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// eachCPU is each for values that every processor has one of.
func eachCPU[K, V any](m *ebpf.Map, fn func(K, []V) (bool, error)) error {
	var k K
	var v []V
	rows := m.Iterate()
	for rows.Next(&k, &v) {
		if on, err := fn(k, v); err != nil || !on {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list map: %w", err)
	}
	return nil
}

// putAll writes in order.
func putAll[K, V any](m *ebpf.Map, keys []K, values []V) error {
	for len(keys) > 0 {
		n := min(batch, len(keys))
		if _, err := m.BatchUpdate(keys[:n], values[:n], nil); err != nil {
			return full(err)
		}
		keys, values = keys[n:], values[n:]
	}
	return nil
}

// ErrFull is that a map has no room.
var ErrFull = errors.New("the map is full: its size has to be larger")

func full(err error) error {
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return err
}
