package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/node/enforce"
	"fairlead.io/fairlead/pkg/verdict"
	"fairlead.io/fairlead/pkg/verdict/wire"
)

// Policy takes what is to be enforced; each call returns when the kernel has it. An enforce.Engine is one.
type Policy interface {
	Peers(put []enforce.Peer, gone []string, all bool) error
	PeerSets(put map[string][]string, gone []string) error
	VerdictSets(put map[string]*verdict.Set, gone []string) error
	Workloads(put []enforce.Workload, gone []string, all bool) error
	// Wanted lists the VerdictSets and PeerSets that are needed, and gives a channel that is closed when that may have changed.
	Wanted() (verdictSets, peerSets []string, changed <-chan struct{})
	// Await waits until the Sets of these identities hold as they were sent last.
	Await(ctx context.Context, identities []string) error
}

// A server splits what it has to say at 3.5 MiB. A response that is smaller than whole ends what it says at first; of one that does not
// tell, that is taken to be so after a while.
const (
	whole     = 1 << 20
	wholeTime = 10 * time.Second
)

// names are what a stream is subscribed to by name, by type.
type names map[string]map[string]bool

// subscribe sends what has changed of what is wanted by name. No type is asked for before something of it is wanted: a first request
// without names would be one for everything.
func (c *Client) subscribe(on names, send func(*discovery.DeltaDiscoveryRequest)) (changed <-chan struct{}) {
	verdicts, peers, changed := c.cfg.Policy.Wanted()
	for _, w := range []struct {
		url   string
		names []string
	}{{PeerSetType, peers}, {VerdictSetType, verdicts}} {
		first := on[w.url] == nil
		if first {
			if len(w.names) == 0 {
				continue
			}
			on[w.url] = map[string]bool{}
		}
		req := &discovery.DeltaDiscoveryRequest{TypeUrl: w.url}
		has := on[w.url]
		for _, n := range w.names {
			if !has[n] {
				has[n] = true
				req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, n)
			}
		}
		for n := range has {
			if _, wanted := slices.BinarySearch(w.names, n); !wanted {
				delete(has, n)
				delete(c.versions[w.url], n)
				req.ResourceNamesUnsubscribe = append(req.ResourceNamesUnsubscribe, n)
			}
		}
		maps.DeleteFunc(c.versions[w.url], func(n, _ string) bool { return !has[n] })
		if first {
			req.InitialResourceVersions = maps.Clone(c.versions[w.url])
		}
		if len(req.ResourceNamesSubscribe)+len(req.ResourceNamesUnsubscribe) > 0 {
			send(req)
		}
		if gone := req.GetResourceNamesUnsubscribe(); w.url == PeerSetType && len(gone) > 0 {
			if err := c.cfg.Policy.PeerSets(nil, gone); err != nil {
				c.cfg.Log.Warn("forgetting peer sets failed; it is tried again", "error", err)
			}
		}
	}
	return changed
}

// each reads the resources of a response; those that cannot be read are named in the error, and the others count.
func each[M proto.Message](c *Client, r *discovery.DeltaDiscoveryResponse, empty func() M, use func(name string, m M) error) error {
	var errs []error
	versions := c.versions[r.GetTypeUrl()]
	for _, res := range r.GetResources() {
		m := empty()
		err := res.GetResource().UnmarshalTo(m)
		if err == nil {
			err = use(res.GetName(), m)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", label(r.GetTypeUrl()), res.GetName(), err))
			continue
		}
		versions[res.GetName()] = res.GetVersion()
	}
	for _, name := range r.GetRemovedResources() {
		delete(versions, name)
	}
	return errors.Join(errs...)
}

// peers takes in peers.
func (c *Client) peers(r *discovery.DeltaDiscoveryResponse) error {
	put := make([]enforce.Peer, 0, len(r.GetResources()))
	err := each(c, r, func() *nodev1.Peer { return &nodev1.Peer{} }, func(name string, m *nodev1.Peer) error {
		p, err := wire.DecodePeer(m)
		if err != nil {
			return err
		}
		put = append(put, enforce.Peer{
			Name: name, Identity: p.Identity, Namespace: p.Namespace, Pod: p.Name, Addresses: p.Addresses, Entities: p.Entities,
			Node: p.Node, Labels: p.Labels, Workload: p.Workload,
		})
		return nil
	})
	all := !c.whole && proto.Size(r) < whole
	c.whole = c.whole || all
	c.heard = time.Now()
	return errors.Join(err, c.cfg.Policy.Peers(put, r.GetRemovedResources(), all))
}

// complete takes the peers that were told for all that there are, when no more have come for a while.
func (c *Client) complete() {
	if c.whole || c.heard.IsZero() || time.Since(c.heard) < wholeTime {
		return
	}
	c.whole = true
	if err := c.cfg.Policy.Peers(nil, nil, true); err != nil {
		c.cfg.Log.Warn("taking away peers of before failed; it is tried again", "error", err)
	}
}

// peerSets takes in PeerSets.
func (c *Client) peerSets(r *discovery.DeltaDiscoveryResponse) error {
	put := map[string][]string{}
	err := each(c, r, func() *nodev1.PeerSet { return &nodev1.PeerSet{} }, func(name string, m *nodev1.PeerSet) (err error) {
		put[name], err = wire.DecodePeerSet(m)
		if err != nil {
			delete(put, name)
		}
		return err
	})
	return errors.Join(err, c.cfg.Policy.PeerSets(put, r.GetRemovedResources()))
}

// verdictSets takes in VerdictSets, and gives what waits until they hold.
func (c *Client) verdictSets(r *discovery.DeltaDiscoveryResponse) (wait func(context.Context) error, err error) {
	put := map[string]*verdict.Set{}
	err = each(c, r, func() *nodev1.VerdictSet { return &nodev1.VerdictSet{} }, func(name string, m *nodev1.VerdictSet) error {
		s, err := wire.Decode(m)
		if err == nil {
			put[name] = s
		}
		return err
	})
	err = errors.Join(err, c.cfg.Policy.VerdictSets(put, r.GetRemovedResources()))
	return func(ctx context.Context) error { return c.cfg.Policy.Await(ctx, slices.Collect(maps.Keys(put))) }, err
}

// parseWorkload takes a Workload to the pod that policy is enforced for; false for one that has no network of its own.
func parseWorkload(w *nodev1.Workload) (enforce.Workload, bool, error) {
	out := enforce.Workload{UID: w.GetUid(), Namespace: w.GetNamespace(), Name: w.GetName(), Identity: w.GetIdentity()}
	for _, text := range w.GetAddresses() {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return out, false, fmt.Errorf("workload %s/%s: %w", w.GetNamespace(), w.GetName(), err)
		}
		out.Addresses = append(out.Addresses, a.Unmap())
	}
	return out, w.GetIdentity() != "" && !w.GetHostNetwork(), nil
}
