package push

import (
	"context"
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
		if err := st.identify(ctx, req.GetNode()); err != nil {
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
	if st.watches[url] == nil && len(st.watches) >= maxTypes {
		return status.Errorf(codes.ResourceExhausted, "stream subscribes to more than %d types", maxTypes)
	}
	if allow := st.srv.cfg.Allow; allow != nil && st.watches[url] == nil {
		if err := allow(ctx, url); err != nil {
			return err
		}
	}
	st.refresh()
	w := st.watch(url)
	first := !w.active
	w.active = true
	expected := w.expected
	w.expected = false
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
	return st.subscribe(w, req.GetResourceNamesSubscribe(), first, expected)
}

// identify takes the client's identity from its first request.
func (st *stream) identify(ctx context.Context, n *core.Node) error {
	if n.GetId() == "" {
		return status.Error(codes.InvalidArgument, "the first discovery request names no node: set node.id")
	}
	if len(n.GetId()) > maxName {
		return status.Error(codes.InvalidArgument, "node.id is too long")
	}
	namespace := n.GetMetadata().GetFields()["NAMESPACE"].GetStringValue()
	if len(namespace) > maxName {
		return status.Error(codes.InvalidArgument, "node.metadata NAMESPACE is too long")
	}
	l := n.GetLocality()
	node := snapshot.Node{
		ID:       n.GetId(),
		Locality: model.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()},
		Agent:    n.GetUserAgentName(), Namespace: namespace,
	}
	if admit := st.srv.cfg.Admit; admit != nil {
		var err error
		if node, err = admit(ctx, node); err != nil {
			return err
		}
	}
	st.node = node
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
		st.bring(w, name, version)
	}
	st.rewarm(w, has)
	if w.kind.wildcard && len(req.GetResourceNamesSubscribe()) == 0 {
		w.wildcard, w.all, w.answer = true, true, len(has) == 0
	}
	return nil
}

// rewarm looks after clusters that may be warming. A stream that broke between a changed cluster and its endpoints leaves
// Envoy waiting for a set of which it has the newest version: what is younger as a cluster than as a set is sent again.
func (st *stream) rewarm(w *watch, has map[string]string) {
	switch w.url {
	case clusterType:
		st.brought = has
	case endpointType:
		for name, version := range has {
			_, set, _ := snapshot.ParseVersion(version)
			if _, cluster, ok := snapshot.ParseVersion(st.brought[name]); ok && cluster > set {
				w.mark(name, force)
			}
		}
		st.brought = nil
	}
}

// bring notes what the client has of a name. What is equal to ours and known to be no newer is ours from now on.
func (st *stream) bring(w *watch, name, version string) {
	hash, position, _ := snapshot.ParseVersion(version)
	id, view := w.slot(name), st.view(w)
	if view != nil {
		if r := view.Lookup(st.variants, w.url, name); r != nil && r.Hash == hash && position <= view.Complete() {
			w.set(id, r)
			return
		}
		if position > view.Complete() {
			st.floor = max(st.floor, position)
		}
	}
	w.set(id, &snapshot.Resource{Type: w.url, Name: name, Hash: hash, Position: position})
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
		w.metrics.acked.Observe(time.Since(resp.published).Seconds())
	}
	if resp.whole {
		w.clean = max(w.clean, resp.seq)
	}
	refused := st.srv.status.refusals.Load() > 0
	for i := range resp.items {
		st.accept(w, &resp.items[i], resp.trial, refused)
	}
	if refused {
		st.srv.status.notify()
	}
}

// accept notes that the client has an item.
func (st *stream) accept(w *watch, it *item, trial, refused bool) {
	if it.res == nil {
		return // its slot may be another name's by now
	}
	w.lower(it.id, flying)
	if w.at(it.id)&dirty == 0 {
		w.remove(&w.awaited, it.id)
	}
	if trial {
		if k, ok := st.srv.quarantine.find(it.res, st.version, st.node.ID); ok {
			st.srv.quarantine.lift(k)
		}
	}
	if refused && !it.res.Stub {
		if t := st.srv.status.find(it.res); t != nil {
			st.srv.status.reject(t, st.id, Rejection{})
		}
	}
	w.tidy(it.id)
}

func peerOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}
