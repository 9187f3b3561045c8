package workloadapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	client "github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/node/attest"
)

// raw is a client that adds nothing.
func raw(t *testing.T, r *rig, uid string, more ...grpc.DialOption) workload.SpiffeWorkloadAPIClient {
	t.Helper()
	dial := grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		if uid == "" {
			return net.Dial("unix", r.path)
		}
		from := &net.UnixAddr{Name: fmt.Sprintf("@%s/%d/%s", uid, dials.Add(1), filepath.Base(filepath.Dir(r.path))), Net: "unix"}
		return net.DialUnix("unix", from, &net.UnixAddr{Name: r.path, Net: "unix"})
	})
	c, err := grpc.NewClient("passthrough:///"+r.path, append(more, dial, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return workload.NewSpiffeWorkloadAPIClient(c)
}

func headed(ctx context.Context, value string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", value)
}

// methods calls each method once; streams for their first message.
func methods(ctx context.Context, c workload.SpiffeWorkloadAPIClient) map[string]error {
	out := map[string]error{}
	xs, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
	if err == nil {
		_, err = xs.Recv()
	}
	out["FetchX509SVID"] = err
	xb, err := c.FetchX509Bundles(ctx, &workload.X509BundlesRequest{})
	if err == nil {
		_, err = xb.Recv()
	}
	out["FetchX509Bundles"] = err
	jb, err := c.FetchJWTBundles(ctx, &workload.JWTBundlesRequest{})
	if err == nil {
		_, err = jb.Recv()
	}
	out["FetchJWTBundles"] = err
	_, out["FetchJWTSVID"] = c.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"x"}})
	_, out["ValidateJWTSVID"] = c.ValidateJWTSVID(ctx, &workload.ValidateJWTSVIDRequest{Audience: "x", Svid: "x"})
	return out
}

func TestHeader(t *testing.T) {
	r := start(t)
	r.Set("a")
	ctx := within(t)
	for name, ctx := range map[string]context.Context{
		"none": ctx, "false": headed(ctx, "false"), "True": headed(ctx, "True"), "twice": headed(headed(ctx, "true"), "true"),
	} {
		for method, err := range methods(ctx, raw(t, r, "a")) {
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), header) {
				t.Errorf("header %s: %s: %v", name, method, err)
			}
		}
	}
	for method, err := range methods(headed(ctx, "true"), raw(t, r, "a")) {
		if err != nil && method != "ValidateJWTSVID" {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// refusedAs requires the one answer that those get who have nothing.
func refusedAs(t *testing.T, who string, err error) {
	t.Helper()
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != "no identity issued" {
		t.Errorf("%s: %v", who, err)
	}
}

func TestNobody(t *testing.T) {
	r := start(t, func(c *Config) { c.Wait = 10 * time.Millisecond })
	r.Set("a")
	for who, c := range map[string]workload.SpiffeWorkloadAPIClient{"no pod": raw(t, r, ""), "a pod of another node": raw(t, r, "b")} {
		for method, err := range methods(headed(within(t), "true"), c) {
			refusedAs(t, who+": "+method, err)
		}
	}
	if n := testutil.ToFloat64(r.server.metrics.calls.WithLabelValues("FetchX509SVID", "PermissionDenied")); n != 2 {
		t.Errorf("%v calls were counted as refused, want 2", n)
	}
}

// A process of the node, attested by the kernel.
func TestProcessOfTheNode(t *testing.T) {
	r := start(t, func(c *Config) { c.Attestor = attest.New(attest.Config{}) })
	_, err := r.client("a").FetchX509SVID(within(t))
	refusedAs(t, "this process", err)
}

// A pod that ends, or a process that is of another pod, loses its streams.
func TestStreamsEnd(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"pod finished":  func(r *rig) { r.Remove("a") },
		"process moved": func(r *rig) { r.procs.set(attest.ErrMoved); r.Distribute() },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.Set("a")
			ctx, c := headed(within(t), "true"), raw(t, r, "a")
			xs, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
			xb, err2 := c.FetchX509Bundles(ctx, &workload.X509BundlesRequest{})
			jb, err3 := c.FetchJWTBundles(ctx, &workload.JWTBundlesRequest{})
			if err := errors.Join(err, err2, err3); err != nil {
				t.Fatal(err)
			}
			streams := map[string]func() error{
				"FetchX509SVID":    func() error { _, err := xs.Recv(); return err },
				"FetchX509Bundles": func() error { _, err := xb.Recv(); return err },
				"FetchJWTBundles":  func() error { _, err := jb.Recv(); return err },
			}
			for method, recv := range streams {
				if err := recv(); err != nil {
					t.Fatalf("%s: %v", method, err)
				}
			}
			end(r)
			for method, recv := range streams {
				if name == "process moved" && method == "FetchJWTBundles" {
					continue // nothing new to push
				}
				refusedAs(t, method, recv())
			}
		})
	}
}

func TestStopEndsStreams(t *testing.T) {
	r := start(t)
	r.Set("a")
	xs, err := raw(t, r, "a").FetchX509SVID(headed(within(t), "true"), &workload.X509SVIDRequest{})
	if err == nil {
		_, err = xs.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	r.server.Stop()
	if _, err := xs.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
}

func TestLimits(t *testing.T) {
	r := start(t, func(c *Config) { c.Limits = Limits{Calls: 3, Streams: 4, Connections: 3} })
	for _, uid := range []string{"a", "b", "c"} {
		r.Set(uid)
	}
	ctx := headed(within(t), "true")
	open := func(uid string) error {
		s, err := raw(t, r, uid).FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	}
	for range 3 {
		if err := open("a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := open("a"); status.Code(err) != codes.Unavailable {
		t.Errorf("fourth connection of a pod: %v", err)
	}
	if err := open("b"); err != nil {
		t.Errorf("another pod: %v", err)
	}
	if err := open("c"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("fifth stream of all: %v", err)
	}
	_, err := raw(t, r, "c").ValidateJWTSVID(ctx, &workload.ValidateJWTSVIDRequest{Audience: "x", Svid: strings.Repeat("x", maxMessage)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a large message: %v", err)
	}
}

func TestCallsOfOnePod(t *testing.T) {
	c := newCalls(Limits{Calls: 2, Streams: 3})
	for i, want := range []bool{true, true, false} {
		if c.take("a", i == 0) != want {
			t.Errorf("call %d is not %v", i, want)
		}
	}
	for i, want := range []bool{true, true, false} {
		if c.take(fmt.Sprint(i), true) != want {
			t.Errorf("stream %d of all is not %v", i+1, want)
		}
	}
	if !c.take("c", false) {
		t.Error("a call counts as a stream")
	}
	c.give("a", true)
	if !c.take("a", false) || !c.take("c", true) {
		t.Error("what was given back is not free")
	}
}

// A client that reads nothing holds up nobody.
func TestSlowReader(t *testing.T) {
	r := start(t)
	r.Set("slow")
	r.Set("a")
	slow, err := raw(t, r, "slow", grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10)).
		FetchX509SVID(headed(within(t), "true"), &workload.X509SVIDRequest{})
	if err != nil {
		t.Fatal(err)
	}
	s := source(t, r, "a")
	for i := range 300 { // 250 KB, four times the window
		r.Set("slow")
		if i%50 == 0 {
			root := r.Distribute()
			eventually(t, "the others see the root", func() bool { return trusts(s, root) })
		}
	}
	last, _, _ := r.X509("slow")
	for n := 1; ; n++ {
		m, err := slow.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if string(m.GetSvids()[0].GetX509Svid()) == string(concat(last.Chain)) {
			t.Logf("%d messages of 300", n)
			return
		}
	}
}

var _ client.X509ContextWatcher = (*watcher)(nil)
