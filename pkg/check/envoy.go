package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/process"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/snapshot"
)

// types are what an Envoy is served, in no order: push orders them.
var types = []string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster",
	"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	listenerType,
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	"type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
	"type.googleapis.com/envoy.config.route.v3.VirtualHost",
	"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}

const listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"

// Envoy starts the Envoy at path on a snapshot, over delta ADS as a node does, and returns what it refuses by source object.
// `envoy --mode validate` would not do: it accepts broken dynamic resources (routes, endpoints, secrets). Its listeners are not
// bound, so that nothing is opened on the machine. The error is about the Envoy that cannot run.
func Envoy(ctx context.Context, path string, snap snapshot.Snapshot) (refused map[model.Ref][]report.Rejection, err error) {
	dir, err := os.MkdirTemp("", "fairlead-check-")
	if err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	defer os.RemoveAll(dir)
	static := snapshot.NewStatic()
	resources, err := unbound(snap)
	if err != nil {
		return nil, err
	}
	static.Update(1, resources)
	lis, err := net.Listen("unix", filepath.Join(dir, "xds"))
	if err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	ads := push.New(push.Config{Source: static, Identifier: "fairlead-check"})
	server := grpc.NewServer(push.ServerOptions()...)
	ads.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	defer func() {
		ads.Drain()
		server.Stop()
		err = errors.Join(err, <-served)
	}()
	p, err := start(path, dir)
	if err != nil {
		return nil, err
	}
	if err := settle(ctx, p, ads, filepath.Join(dir, "admin")); err != nil {
		return nil, errors.Join(err, p.Stop(0))
	}
	// While the Envoy lives: its refusals end with its stream.
	refused, named := refusals(ads, resources)
	if nack := nacked(ads); nack != "" && !named {
		err = fmt.Errorf("envoy refuses a resource that no object is behind; please report this: %s", nack)
	}
	return refused, errors.Join(err, p.Stop(0))
}

// nacked is the last rejection of any type.
func nacked(ads *push.Server) string {
	for _, c := range ads.Clients() {
		for _, t := range c.Types {
			if t.Nacks > 0 {
				return push.ShortType(t.Type) + ": " + t.LastNack
			}
		}
	}
	return ""
}

// unbound copies the resources of a snapshot; its listeners bind no port.
func unbound(snap snapshot.Snapshot) (out []*snapshot.Resource, err error) {
	for _, t := range types {
		snap.Range(t, func(r *snapshot.Resource) bool {
			if t == listenerType {
				r, err = withoutPort(r)
			}
			out = append(out, r)
			return err == nil
		})
	}
	return out, err
}

func withoutPort(r *snapshot.Resource) (*snapshot.Resource, error) {
	var l listenerv3.Listener
	if err := r.Body.UnmarshalTo(&l); err != nil {
		return nil, fmt.Errorf("decode listener %s: %w", r.Name, err)
	}
	if l.GetInternalListener() == nil {
		l.BindToPort = wrapperspb.Bool(false)
		l.EnableReusePort = wrapperspb.Bool(false)
	}
	out, err := snapshot.Encode(r.Name, &l, r.Position, r.Origins...)
	if err != nil {
		return nil, err
	}
	out.Variant = r.Variant
	return out, nil
}

// start runs an Envoy with a node's bootstrap in the folder of its sockets.
func start(path, dir string) (*process.Process, error) {
	conf, err := bootstrap.Bootstrap(bootstrap.Config{
		NodeID: "check", XDS: "unix:" + filepath.Join(dir, "xds"), Admin: "unix:" + filepath.Join(dir, "admin"),
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	return process.Start("envoy", dir, path, "-c", file, "--log-level", "critical", "--disable-hot-restart", "--concurrency", "1")
}

// settle waits until the client is quiet: everything it subscribed to is answered and acknowledged or rejected, and Envoy is
// live or, when a rejection keeps a listener from that, nothing has moved for a while.
func settle(ctx context.Context, p *process.Process, ads *push.Server, admin string) error {
	const still = 500 * time.Millisecond
	last, since := "", time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if gone, err := p.Exited(); gone {
			return err
		}
		state, quiet, rejected := observe(ads)
		if state != last {
			last, since = state, time.Now()
		}
		if quiet && live(ctx, admin) && time.Since(since) > 50*time.Millisecond {
			return nil
		}
		if quiet && rejected && time.Since(since) > still {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for envoy to take everything: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// observe describes the client's progress in a text that changes with it.
func observe(ads *push.Server) (state string, quiet, rejected bool) {
	clients := ads.Clients()
	if len(clients) == 0 {
		return "", false, false
	}
	quiet = len(clients[0].Types) > 1
	for _, t := range clients[0].Types {
		state += fmt.Sprint(t.Type, t.Subscribed, t.Resources, t.Responses, t.Nacks, t.InFlight, t.Pending, t.Quarantined, ";")
		quiet = quiet && !t.InFlight && t.Pending == 0
		rejected = rejected || t.Nacks > 0
	}
	return state, quiet, rejected
}

// live asks Envoy whether every listener and cluster has been warmed.
func live(ctx context.Context, socket string) bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy/ready", nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

// refusals gathers Envoy's words by object; named tells that there are any.
func refusals(ads *push.Server, resources []*snapshot.Resource) (out map[model.Ref][]report.Rejection, named bool) {
	out = map[model.Ref][]report.Rejection{}
	for _, r := range resources {
		for _, ref := range r.Origins {
			if _, done := out[ref]; done {
				continue
			}
			out[ref] = nil
			for _, j := range ads.Status().For(ref).Rejected {
				named = true
				out[ref] = append(out[ref], report.Rejection{Node: j.Node, Type: push.ShortType(j.Type), Resource: j.Name, Message: j.Message})
			}
		}
	}
	return out, named
}
