package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/integration/loadclient"
)

// profile says who the clients of a fleet are, and in responses of which type each kind of change reaches them.
type profile struct {
	name  string
	node  func(i int) *core.Node
	kinds map[string]string
	// partial clients ask for something that the server refuses them: they are ready when they have routes.
	partial bool
}

// profilesOf are the fleets that a server is measured with, one after the other; the first one's connecting counts.
func profilesOf(kind kindOfServer) []profile {
	mesh := map[string]string{endpointKind: xds.EndpointType, destinationKind: xds.ClusterType, goneServiceKind: xds.ClusterType, virtualKind: xds.RouteType, newServiceKind: xds.RouteType}
	if kind.name != "istiod" {
		// A node's Envoy serves the mesh and the gateways. A host is routable when its routes have come, after its scope.
		mesh[httpRouteKind], mesh[secretKind] = xds.VirtualHostType, xds.SecretType
		return []profile{{name: "Envoys of nodes", node: loadclient.EnvoyNode, kinds: mesh}}
	}
	return []profile{
		{name: "sidecars", node: loadclient.IstioSidecar("bench-2"), kinds: mesh},
		// istiod gives secrets over authenticated streams only, and these are plaintext.
		{name: "gateways", node: loadclient.IstioGateway(gatewayHome, gatewayLabels()), kinds: map[string]string{httpRouteKind: xds.RouteType}, partial: true},
	}
}

// clients are the connected fleet of a profile.
type clients struct {
	*loadclient.Fleet
	profile profile
	n       int
	// connects are how often each client had connected when all were at rest: a server may put off those who come first.
	connects []int
}

func connect(ctx context.Context, address string, n int, p profile) (*clients, error) {
	f, err := loadclient.Start(ctx, loadclient.Config{Addresses: []string{address}, N: n, Node: p.node})
	if err != nil {
		return nil, err
	}
	return &clients{Fleet: f, profile: p, n: n}, nil
}

// ready waits until every client has everything, and gives how long each one took.
func (c *clients) ready(ctx context.Context) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, coldTimeout, fmt.Errorf("not within %v", coldTimeout))
	defer cancel()
	if !c.profile.partial {
		err := c.Complete(ctx)
		return c.Cold(), err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		routed := 0
		for _, client := range c.Clients() {
			if client.Counts()[xds.RouteType].Resources > 0 {
				routed++
			}
		}
		if routed == c.n {
			return c.Cold(), nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d clients have routes: %w", routed, c.n, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// received is how many bytes have come to all clients, before gRPC's framing.
func (c *clients) received() uint64 {
	var out uint64
	for _, n := range c.Counts() {
		out += n.Bytes
	}
	return out
}

// rested notes that all streams are to stay from now on; the result is how many clients had to come again before.
func (c *clients) rested() (again int) {
	c.connects = nil
	for _, client := range c.Clients() {
		n := client.Connects()
		c.connects = append(c.connects, n)
		if n > 1 {
			again++
		}
	}
	return again
}

// broken is an error when a stream has ended since: then figures are not what they seem to be.
func (c *clients) broken() error {
	for i, client := range c.Clients() {
		if n := client.Connects(); n > c.connects[i] {
			return fmt.Errorf("%s has connected %d times: %w", client.ID(), n, errors.Join(client.Err()))
		}
	}
	return nil
}

// watch looks for a change of a kind by its mark.
func (c *clients) watch(kind, mark string) *loadclient.Watch {
	url, needle := c.profile.kinds[kind], []byte(mark)
	if kind == goneServiceKind {
		return c.Watch(func(u *loadclient.Update) bool { return u.Removed && u.Type == url && strings.Contains(u.Name, mark) })
	}
	return c.Watch(func(u *loadclient.Update) bool {
		return !u.Removed && u.Type == url && (strings.Contains(u.Name, mark) || bytes.Contains(u.Body, needle))
	})
}
