package push

import (
	"context"
	"slices"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

// Bounds on what a stranger may make us keep.
const (
	maxTypes = 32
	maxName  = 4096
	maxText  = 4096 // of a NACK's message
)

// handle takes in one request. An error ends the stream: the client broke the protocol.
func (st *stream) handle(ctx context.Context, req *discovery.DeltaDiscoveryRequest) error {
	if st.variants == nil {
		if err := st.identify(req.GetNode()); err != nil {
			return err
		}
		st.srv.join(st)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	url := req.GetTypeUrl()
	if url == "" || len(url) > maxName {
		return status.Error(codes.InvalidArgument, "discovery request names no type_url")
	}
	w, first := st.watches[url], false
	if w == nil {
		if len(st.watches) >= maxTypes {
			return status.Errorf(codes.ResourceExhausted, "stream subscribes to more than %d types", maxTypes)
		}
		w, first = newWatch(url), true
		st.watches[url] = w
		st.ranked = append(st.ranked, w)
		slices.SortStableFunc(st.ranked, func(a, b *watch) int { return a.rank - b.rank })
	}
	if n := req.GetResponseNonce(); n != "" && w.inflight != nil && w.inflight.nonce == n {
		st.acknowledge(ctx, w, req.GetErrorDetail())
	}
	if first {
		if err := st.resume(w, req); err != nil {
			return err
		}
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		st.unsubscribe(w, name)
	}
	for _, name := range req.GetResourceNamesSubscribe() {
		if err := st.subscribe(w, name, first); err != nil {
			return err
		}
	}
	return nil
}

// identify takes the client's identity from its first request.
func (st *stream) identify(n *core.Node) error {
	if n.GetId() == "" {
		return status.Error(codes.InvalidArgument, "the first discovery request names no node: set node.id")
	}
	if len(n.GetId()) > maxName {
		return status.Error(codes.InvalidArgument, "node.id is too long")
	}
	l := n.GetLocality()
	st.node = snapshot.Node{
		ID:       n.GetId(),
		Locality: model.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()},
	}
	st.agent, st.version = n.GetUserAgentName(), n.GetUserAgentVersion()
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		st.version = versionString(v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	st.log = st.srv.cfg.Log.With("node", st.node.ID, "version", st.version)
	st.mu.Lock()
	st.variants = st.node.Variants()
	st.mu.Unlock()
	return nil
}

// resume takes in what the client has from an earlier stream, and what its first request of a type means.
func (st *stream) resume(w *watch, req *discovery.DeltaDiscoveryRequest) error {
	has := req.GetInitialResourceVersions()
	if len(has) > st.srv.cfg.MaxNames {
		return status.Errorf(codes.ResourceExhausted, "initial_resource_versions has more than %d names", st.srv.cfg.MaxNames)
	}
	for name, version := range has {
		if len(name) > maxName {
			return status.Errorf(codes.InvalidArgument, "resource name is longer than %d bytes", maxName)
		}
		hash, position, ok := snapshot.ParseVersion(version)
		if !ok {
			hash, position = 0, 0
		}
		w.has[name] = entry{hash: hash, position: position}
		st.floor = max(st.floor, position)
	}
	if w.kind.wildcard && len(req.GetResourceNamesSubscribe()) == 0 {
		w.wildcard, w.all, w.answer = true, true, len(has) == 0
	}
	return nil
}

// subscribe adds a name. What is asked for explicitly is answered even if the client should have it: it may have
// forgotten it.
func (st *stream) subscribe(w *watch, name string, first bool) error {
	if name == "*" {
		w.answer = w.answer || (!w.wildcard && len(w.has) == 0)
		w.wildcard, w.all = true, true
		return nil
	}
	if len(name) > maxName {
		return status.Errorf(codes.InvalidArgument, "resource name is longer than %d bytes", maxName)
	}
	if _, ok := w.names[name]; !ok {
		if st.names >= st.srv.cfg.MaxNames {
			return status.Errorf(codes.ResourceExhausted, "stream subscribes to more than %d names", st.srv.cfg.MaxNames)
		}
		st.names++
		w.names[name] = struct{}{}
	}
	n := ask
	if _, ok := w.has[name]; ok && first {
		n = changed
	}
	w.mark(name, n)
	switch w.url {
	case routeType:
		st.markHosts(name, n)
	case virtualHostType:
		st.markHosts(name, changed)
	}
	return nil
}

// unsubscribe drops a name. With a wildcard beside it the client cannot know whether the name is part of that, and is
// told (xDS protocol, "unsubscribing from resources").
func (st *stream) unsubscribe(w *watch, name string) {
	if name == "*" {
		w.wildcard = false
		for n := range w.has {
			if !st.wants(w, n) {
				w.forget(n)
			}
		}
		return
	}
	if _, ok := w.names[name]; !ok {
		return
	}
	st.names--
	delete(w.names, name)
	delete(st.await, waitKey{w.url, name})
	switch {
	case st.wants(w, name):
		w.mark(name, ask)
	default:
		st.unreject(w, name)
		w.forget(name)
	}
	if vhds := st.watches[virtualHostType]; vhds != nil && (w.url == routeType || w == vhds) {
		for n := range vhds.has {
			if namespace(n) == name && !st.wants(vhds, n) {
				vhds.forget(n)
			}
		}
	}
}

// wants tells whether the client is subscribed to a name. Envoy subscribes to virtual hosts as a wildcard once, and
// means those of the route configurations that it has; other clients may name a route configuration.
func (st *stream) wants(w *watch, name string) bool {
	if _, ok := w.names[name]; ok {
		return true
	}
	if w.url != virtualHostType {
		return w.wildcard
	}
	ns := namespace(name)
	if _, ok := w.names[ns]; ok {
		return true
	}
	if rds := st.watches[routeType]; w.wildcard && rds != nil {
		_, ok := rds.names[ns]
		return ok || rds.wildcard
	}
	return false
}

// markHosts marks the virtual hosts of a route configuration. When there are none, Envoy must be told so, or the route
// configuration stays warming: an empty response reaches no VHDS subscription, the removal of a name in its namespace
// does (Envoy, WatchMap::onConfigUpdate).
func (st *stream) markHosts(routes string, n need) {
	w := st.watches[virtualHostType]
	if w == nil {
		return
	}
	if n != changed {
		n = force
	}
	found := false
	for name := range w.has {
		if namespace(name) == routes {
			w.mark(name, n)
			found = true
		}
	}
	if st.latest == nil {
		w.all = true
		return
	}
	for _, s := range []snapshot.Snapshot{st.snap, st.latest} {
		s.Range(virtualHostType, func(r *snapshot.Resource) bool {
			if namespace(r.Name) == routes {
				w.mark(r.Name, n)
				found = true
			}
			return true
		})
	}
	if !found && n != changed {
		w.mark(routes+"/", ask)
	}
}

// acknowledge ends the type's flight.
func (st *stream) acknowledge(ctx context.Context, w *watch, fault *rpc.Status) {
	resp := w.inflight
	w.inflight = nil
	w.lastAckd = time.Now()
	if fault != nil {
		st.reject(ctx, w, resp, fault.GetMessage())
		return
	}
	w.ackedSeq = resp.seq
	if !resp.initial {
		st.srv.metrics.latency.WithLabelValues("acked", label(w.url)).Observe(time.Since(resp.published).Seconds())
	}
	for i := range resp.items {
		st.accept(w, &resp.items[i], resp.trial)
	}
	st.srv.status.notify()
}

// accept notes that the client has an item.
func (st *stream) accept(w *watch, it *item, trial bool) {
	if _, again := w.dirty[it.name]; !again {
		delete(st.await, waitKey{w.url, it.name})
	}
	if it.res == nil {
		return
	}
	if trial {
		if k, ok := st.srv.quarantine.find(it.res, st.version, st.node.ID); ok {
			st.srv.quarantine.lift(k)
		}
	}
	e, ok := w.has[it.name]
	if !ok || e.hash != it.res.Hash || e.acked {
		return
	}
	e.acked = true
	if e.track != nil {
		e.track.acked.Add(1)
		st.srv.status.reject(e.track, st.id, Rejection{})
	}
	w.has[it.name] = e
}

func peerOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}
