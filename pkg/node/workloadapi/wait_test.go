package workloadapi

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// out is the server's side of a stream.
type out[M any] struct {
	grpc.ServerStream
	ctx  context.Context
	sent []*M
}

func (o *out[M]) Context() context.Context { return o.ctx }
func (o *out[M]) Send(m *M) error          { o.sent = append(o.sent, m); return nil }

// A pod that has just appeared is waited for; what never comes is told apart from what nobody knows.
func TestWaits(t *testing.T) {
	for name, c := range map[string]struct {
		want   codes.Code
		after  time.Duration
		events []string
	}{
		"unknown all the time":        {codes.PermissionDenied, 10 * time.Second, nil},
		"pending all the time":        {codes.Unavailable, 10 * time.Second, []string{"pend"}},
		"unknown, pending, there":     {codes.Canceled, 12 * time.Second, []string{"", "pend", "set"}},
		"pending, then finished":      {codes.PermissionDenied, 3 * time.Second, []string{"pend", "", "remove"}},
		"there, pending, there again": {codes.Canceled, 66 * time.Second, []string{"set", "pend", "60s", "set"}},
		"there, then finished":        {codes.PermissionDenied, 3 * time.Second, []string{"set", "", "remove"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, i := alone(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				o := &out[workload.X509SVIDResponse]{ctx: called(ctx, "a")}
				done, began := make(chan error, 1), time.Now()
				sets := 0
				var events sync.WaitGroup
				defer events.Wait()
				events.Go(func() {
					for _, e := range c.events {
						switch e {
						case "pend":
							i.Pend("a")
						case "set":
							i.Set("a")
							sets++
						case "remove":
							i.Remove("a")
						case "60s":
							time.Sleep(60 * time.Second)
						}
						if e != "60s" {
							time.Sleep(1500 * time.Millisecond)
						}
					}
					if c.want == codes.Canceled {
						time.Sleep(c.after - time.Since(began))
						cancel()
					}
				})
				synctest.Wait()
				go func() { done <- s.FetchX509SVID(nil, o) }()
				err := <-done
				if status.Code(err) != c.want || time.Since(began) != c.after {
					t.Errorf("after %v: %v; want %v after %v", time.Since(began), err, c.want, c.after)
				}
				if len(o.sent) != sets {
					t.Errorf("%d messages, want %d", len(o.sent), sets)
				}
			})
		})
	}
}

// What changes nothing for a workload is not sent to it.
func TestNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := alone(t)
		i.Set("a")
		ctx, cancel := context.WithCancel(t.Context())
		o := &out[workload.X509BundlesResponse]{ctx: called(ctx, "a")}
		done := make(chan error)
		go func() { done <- s.FetchX509Bundles(nil, o) }()
		synctest.Wait()
		i.Set("a") // another SVID
		synctest.Wait()
		i.Distribute() // another root
		synctest.Wait()
		i.Sign()
		synctest.Wait()
		cancel()
		if err := <-done; status.Code(err) != codes.Canceled {
			t.Error(err)
		}
		if len(o.sent) != 2 {
			t.Errorf("%d messages, want 2", len(o.sent))
		}
	})
}
