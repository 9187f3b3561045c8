package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// echo sends every datagram back.
func echo(address string) error {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	b := make([]byte, 64)
	for {
		n, from, err := conn.ReadFrom(b)
		if err == nil {
			_, err = conn.WriteTo(b[:n], from)
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

// turn is what watch prints: from this datagram on they are answered, or they are not.
type turn struct {
	Sent int64 `json:"sent"` // nanoseconds since 1970
	Open bool  `json:"open"`
}

const (
	pace    = time.Millisecond
	overdue = 100 * time.Millisecond // an answer takes less
	inARow  = 5                      // fewer that are lost are not policy
)

// watch sends a datagram a millisecond to an echo, in one flow, until its input ends, and prints when the answers begin and end.
func watch(address string) error {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	answered := map[uint64]bool{}
	go func() {
		b := make([]byte, 64)
		for {
			n, err := conn.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && n == 8 {
				mu.Lock()
				answered[binary.BigEndian.Uint64(b)] = true
				mu.Unlock()
			}
		}
	}()
	ended := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(ended)
	}()
	type datagram struct {
		number uint64
		sent   time.Time
	}
	var queue []datagram
	var firstLost time.Time
	open, lost := false, 0
	out := json.NewEncoder(os.Stdout)
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for number := uint64(1); ; number++ {
		select {
		case <-ended:
			return conn.Close()
		case now := <-ticker.C:
			queue = append(queue, datagram{number, now})
			_, _ = conn.Write(binary.BigEndian.AppendUint64(nil, number)) // a refusal is no answer
		}
		for len(queue) > 0 {
			d := queue[0]
			mu.Lock()
			ok := answered[d.number]
			delete(answered, d.number)
			mu.Unlock()
			if !ok && time.Since(d.sent) < overdue {
				break
			}
			queue = queue[1:]
			if ok {
				lost = 0
				if !open {
					open = true
					if err := out.Encode(turn{d.sent.UnixNano(), true}); err != nil {
						return err
					}
				}
				continue
			}
			if lost++; lost == 1 {
				firstLost = d.sent
			}
			if open && lost == inARow {
				open = false
				if err := out.Encode(turn{firstLost.UnixNano(), false}); err != nil {
					return err
				}
			}
		}
	}
}
