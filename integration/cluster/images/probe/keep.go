package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// kept is what came of one target.
type kept struct {
	Target string   `json:"target"`
	Tries  int      `json:"tries"`
	Wrong  int      `json:"wrong"`
	Errors []string `json:"errors"` // the first few that were wrong, with their time
}

// A denied connection is known to be by its silence; an allowed one gets the time of a machine that stands still.
const (
	silence = 200 * time.Millisecond
	rest    = 10 * time.Millisecond
)

// keep connects by TCP to targets all the time, each on its own, until its input ends: "+IP:PORT" must be answered, "-IP:PORT"
// must not. It prints "trying" after a first try of each, and what came of them at the end.
func keep(targets []string) error {
	all := make([]kept, len(targets))
	stop := make(chan struct{})
	var first, done sync.WaitGroup
	for i, t := range targets {
		if len(t) < 2 || t[0] != '+' && t[0] != '-' {
			return fmt.Errorf("target %q: use +IP:PORT or -IP:PORT", t)
		}
		first.Add(1)
		done.Go(func() { all[i] = keepOne(t, stop, first.Done) })
	}
	first.Wait()
	fmt.Println("trying")
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(stop)
	done.Wait()
	return json.NewEncoder(os.Stdout).Encode(all)
}

func keepOne(target string, stop <-chan struct{}, tried func()) kept {
	k := kept{Target: target}
	open, address, limit := target[0] == '+', target[1:], silence
	if open {
		limit = patience
	}
	for {
		conn, err := net.DialTimeout("tcp", address, limit)
		if err == nil {
			err = conn.Close()
		} else if !open && !isTimeout(err) {
			err = errors.New("answered: " + err.Error())
		} else if !open {
			err = nil
		}
		if !open && conn != nil {
			err = errors.New("connected")
		}
		k.Tries++
		if err != nil {
			k.Wrong++
			if len(k.Errors) < 5 {
				k.Errors = append(k.Errors, time.Now().UTC().Format(time.StampMilli)+" "+err.Error())
			}
		}
		if k.Tries == 1 {
			tried()
		}
		select {
		case <-stop:
			return k
		case <-time.After(rest):
		}
	}
}
