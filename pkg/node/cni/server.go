package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Handler does what is asked. ADD returns when the pod's traffic is judged by its policy, or with the reason why it is not.
type Handler interface {
	Add(ctx context.Context, r Request) error
	Check(ctx context.Context, r Request) error
	Del(ctx context.Context, r Request) error
}

// maxRequest bounds a request, and requestTime how long it may take to arrive.
const (
	maxRequest  = 64 << 10
	requestTime = 5 * time.Second
)

// Serve answers plugins on l until ctx ends.
func Serve(ctx context.Context, l net.Listener, h Handler, log *slog.Logger) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve CNI plugins: %w", err)
		}
		calls.Go(func() {
			defer conn.Close()
			if err := answer(ctx, conn, h, log); err != nil {
				log.Warn("CNI plugin was not answered", "error", err)
			}
		})
	}
}

func answer(ctx context.Context, conn net.Conn, h Handler, log *slog.Logger) error {
	if err := conn.SetDeadline(time.Now().Add(requestTime)); err != nil {
		return err
	}
	var r Request
	if err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&r); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	wait := min(max(time.Duration(r.WaitNanosecond), time.Second), 2*time.Minute)
	if err := conn.SetDeadline(time.Now().Add(wait + requestTime)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	began := time.Now()
	err := handle(ctx, h, r)
	log.Info("CNI plugin asked", "command", r.Command, "pod", r.Namespace+"/"+r.Name, "uid", r.UID, "took", time.Since(began).Round(time.Millisecond), "error", err)
	var a Answer
	if err != nil {
		a.Error = err.Error()
	}
	return json.NewEncoder(conn).Encode(a)
}

func handle(ctx context.Context, h Handler, r Request) error {
	if r.UID == "" || r.Name == "" || r.Namespace == "" {
		return errors.New("the container runtime does not name the pod with its UID (CNI_ARGS K8S_POD_UID): use one that does, such as containerd 1.6 or CRI-O 1.22")
	}
	switch r.Command {
	case "ADD":
		return h.Add(ctx, r)
	case "CHECK":
		return h.Check(ctx, r)
	case "DEL":
		return h.Del(ctx, r)
	}
	return fmt.Errorf("command %q is unknown", r.Command)
}
