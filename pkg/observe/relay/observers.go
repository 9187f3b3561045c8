package relay

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/api/observe/relay"
	observev1 "fairlead.io/fairlead/api/observe/v1"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// accessEvery is how often it is asked again what an observer that follows may see.
const accessEvery = time.Minute

// errAccess ends an observer whose right has been taken away.
var errAccess = status.Error(codes.PermissionDenied, "the right to these flows has been taken away")

type observerServer struct {
	observer.UnimplementedObserverServer
	r      *Relay
	access Access
}

// GetFlows implements observer.ObserverServer.
func (s observerServer) GetFlows(req *observer.GetFlowsRequest, stream grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	if _, err := filter.New(req.GetWhitelist(), req.GetBlacklist()); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if req.GetFirst() && req.GetFollow() {
		return status.Error(codes.InvalidArgument, "observe flows: first and follow exclude each other")
	}
	scope, err := s.access(stream.Context(), req)
	if err != nil {
		return err
	}
	select {
	case s.r.observers <- struct{}{}:
	default:
		return status.Errorf(codes.ResourceExhausted, "%d observers are being answered already; try again later", cap(s.r.observers))
	}
	s.r.metrics.observers.Inc()
	defer func() { s.r.metrics.observers.Dec(); <-s.r.observers }()
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(ctx, req, scope, cancel) })
	err = s.flows(ctx, req, scope, stream.Send)
	cause := context.Cause(ctx)
	cancel(nil)
	watching.Wait()
	if errors.Is(cause, errAccess) || errors.Is(cause, errDraining) {
		return cause
	}
	return err
}

// flows sends which nodes there are, and what they answer.
func (s observerServer) flows(ctx context.Context, req *observer.GetFlowsRequest, scope *filter.Scope, send func(*observer.GetFlowsResponse) error) error {
	here, missing := s.r.present()
	for state, names := range map[relay.NodeState][]string{relay.NodeState_NODE_CONNECTED: here, relay.NodeState_NODE_UNAVAILABLE: missing} {
		if len(names) == 0 || len(s.r.cfg.Replicas()) > 0 && state == relay.NodeState_NODE_UNAVAILABLE {
			continue // which of the missing are at other replicas is not known here
		}
		if err := send(&observer.GetFlowsResponse{Time: now(), ResponseTypes: &observer.GetFlowsResponse_NodeStatus{
			NodeStatus: &relay.NodeStatusEvent{StateChange: state, NodeNames: names},
		}}); err != nil {
			return err
		}
	}
	ask := &observev1.Ask{What: &observev1.Ask_Flows{Flows: req}, Scope: &observev1.Scope{All: scope.All, Namespaces: scope.Namespaces}}
	return s.r.gather(ctx, ask, true, func(a *observev1.Answer) error {
		if m := a.GetFlow(); m != nil {
			return send(m)
		}
		return nil
	})
}

// watch ends an observer that may not see any more what it sees, and one of a replica that shuts down.
func (s observerServer) watch(ctx context.Context, req *observer.GetFlowsRequest, was *filter.Scope, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(accessEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.r.draining:
			cancel(errDraining)
			return
		case <-tick.C:
		}
		scope, err := s.access(ctx, req)
		if ctx.Err() == nil && (err != nil || scope.All != was.All || !slices.Equal(scope.Namespaces, was.Namespaces)) {
			cancel(errAccess)
			return
		}
	}
}

// present are the nodes that are connected here, and those that should be and are not.
func (r *Relay) present() (here, missing []string) {
	nodes, _ := r.connected()
	for _, n := range nodes {
		here = append(here, n.name)
	}
	if r.cfg.Nodes != nil {
		for _, n := range r.cfg.Nodes() {
			if !slices.Contains(here, n) {
				missing = append(missing, n)
			}
		}
	}
	return here, missing
}

// all lets through only who may see every namespace.
func (s observerServer) all(ctx context.Context) error {
	scope, err := s.access(ctx, nil)
	if err == nil && !scope.All {
		err = status.Error(codes.PermissionDenied, "this is for who may see the flows of all namespaces")
	}
	return err
}

// ServerStatus implements observer.ObserverServer.
func (s observerServer) ServerStatus(ctx context.Context, req *observer.ServerStatusRequest) (*observer.ServerStatusResponse, error) {
	if err := s.all(ctx); err != nil {
		return nil, err
	}
	out := &observer.ServerStatusResponse{Version: "fairlead " + s.r.cfg.Version, UptimeNs: uint64(time.Since(s.r.started))}
	nodes := uint32(0)
	err := s.r.gather(ctx, &observev1.Ask{What: &observev1.Ask_Status{Status: req}}, true, func(a *observev1.Answer) error {
		if st := a.GetStatus(); st != nil {
			nodes++
			out.NumFlows += st.GetNumFlows()
			out.MaxFlows += st.GetMaxFlows()
			out.SeenFlows += st.GetSeenFlows()
			out.FlowsRate += st.GetFlowsRate()
			out.UptimeNs = max(out.UptimeNs, st.GetUptimeNs())
		}
		return nil
	})
	out.NumConnectedNodes = wrapperspb.UInt32(nodes)
	if _, missing := s.r.present(); len(s.r.cfg.Replicas()) == 0 {
		out.NumUnavailableNodes, out.UnavailableNodes = wrapperspb.UInt32(uint32(len(missing))), missing
	}
	return out, err
}

// GetNamespaces implements observer.ObserverServer.
func (s observerServer) GetNamespaces(ctx context.Context, req *observer.GetNamespacesRequest) (*observer.GetNamespacesResponse, error) {
	if err := s.all(ctx); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	err := s.r.gather(ctx, &observev1.Ask{What: &observev1.Ask_Namespaces{Namespaces: req}}, true, func(a *observev1.Answer) error {
		for _, n := range a.GetNamespaces().GetNamespaces() {
			found[n.GetNamespace()] = true
		}
		return nil
	})
	out := &observer.GetNamespacesResponse{}
	for _, n := range slices.Sorted(maps.Keys(found)) {
		out.Namespaces = append(out.Namespaces, &observer.Namespace{Namespace: n})
	}
	return out, err
}

// GetNodes implements observer.ObserverServer: the nodes of this replica, and those that are missing.
func (s observerServer) GetNodes(ctx context.Context, _ *observer.GetNodesRequest) (*observer.GetNodesResponse, error) {
	if err := s.all(ctx); err != nil {
		return nil, err
	}
	nodes, _ := s.r.connected()
	out := &observer.GetNodesResponse{}
	for _, n := range nodes {
		out.Nodes = append(out.Nodes, &observer.Node{Name: n.name, Version: "fairlead " + n.version, State: relay.NodeState_NODE_CONNECTED, Tls: &observer.TLS{Enabled: true}})
	}
	if _, missing := s.r.present(); len(s.r.cfg.Replicas()) == 0 {
		for _, n := range missing {
			out.Nodes = append(out.Nodes, &observer.Node{Name: n, State: relay.NodeState_NODE_UNAVAILABLE})
		}
	}
	return out, nil
}

// GetAgentEvents implements observer.ObserverServer.
func (observerServer) GetAgentEvents(*observer.GetAgentEventsRequest, grpc.ServerStreamingServer[observer.GetAgentEventsResponse]) error {
	return status.Error(codes.Unimplemented, "there are no agent events here: flows are what is observed")
}

// GetDebugEvents implements observer.ObserverServer.
func (observerServer) GetDebugEvents(*observer.GetDebugEventsRequest, grpc.ServerStreamingServer[observer.GetDebugEventsResponse]) error {
	return status.Error(codes.Unimplemented, "there are no debug events here: flows are what is observed")
}
