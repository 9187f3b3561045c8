package flows

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/api/observe/relay"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// Register serves the observer API to whoever can call: they see every flow of the node, so it belongs on a Unix socket of the
// owner alone.
func (o *Observer) Register(r grpc.ServiceRegistrar) {
	observer.RegisterObserverServer(r, server{o: o})
	h := health.NewServer()
	h.SetServingStatus(healthName, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(r, h)
}

// healthName is what Hubble's client asks the health of.
const healthName = "hubble.server.Observer"

type server struct {
	observer.UnimplementedObserverServer
	o *Observer
}

// GetFlows implements observer.ObserverServer.
func (s server) GetFlows(req *observer.GetFlowsRequest, stream grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	return s.o.Observe(stream.Context(), req, &filter.Scope{All: true}, stream.Send)
}

// ServerStatus implements observer.ObserverServer.
func (s server) ServerStatus(context.Context, *observer.ServerStatusRequest) (*observer.ServerStatusResponse, error) {
	return s.o.Status(), nil
}

// GetNamespaces implements observer.ObserverServer.
func (s server) GetNamespaces(context.Context, *observer.GetNamespacesRequest) (*observer.GetNamespacesResponse, error) {
	return s.o.namespaceList(), nil
}

// GetNodes implements observer.ObserverServer.
func (s server) GetNodes(context.Context, *observer.GetNodesRequest) (*observer.GetNodesResponse, error) {
	st := s.o.Status()
	return &observer.GetNodesResponse{Nodes: []*observer.Node{{
		Name: s.o.cfg.Node, Version: st.GetVersion(), State: relay.NodeState_NODE_CONNECTED, UptimeNs: st.GetUptimeNs(),
		NumFlows: st.GetNumFlows(), MaxFlows: st.GetMaxFlows(), SeenFlows: st.GetSeenFlows(),
	}}}, nil
}

// GetAgentEvents implements observer.ObserverServer.
func (server) GetAgentEvents(*observer.GetAgentEventsRequest, grpc.ServerStreamingServer[observer.GetAgentEventsResponse]) error {
	return status.Error(codes.Unimplemented, "there are no agent events here: flows are what is observed")
}

// GetDebugEvents implements observer.ObserverServer.
func (server) GetDebugEvents(*observer.GetDebugEventsRequest, grpc.ServerStreamingServer[observer.GetDebugEventsResponse]) error {
	return status.Error(codes.Unimplemented, "there are no debug events here: flows are what is observed")
}

// Status tells how many flows there are and have been.
func (o *Observer) Status() *observer.ServerStatusResponse {
	wall, _ := o.cfg.Clock()
	list, next, _ := o.ring.from(0)
	return &observer.ServerStatusResponse{
		NumFlows: uint64(len(list)), MaxFlows: uint64(o.cfg.Capacity), SeenFlows: next, UptimeNs: uint64(max(wall.Sub(o.started), 0)),
		NumConnectedNodes: wrapperspb.UInt32(1), NumUnavailableNodes: wrapperspb.UInt32(0), Version: "fairlead " + o.cfg.Version,
		FlowsRate: rate(list, wall),
	}
}

// rate is how many flows a second there were in the last minute, or in as much of it as the list reaches back.
func rate(list []*record, now time.Time) float64 {
	since, n := now.Add(-time.Minute), 0
	for _, r := range slices.Backward(list) {
		if r.time.Before(since) {
			break
		}
		n++
	}
	if n == len(list) && n > 0 {
		since = list[0].time
	}
	return float64(n) / max(now.Sub(since).Seconds(), 1)
}

// Namespaces are those that had flows in the last hour, sorted.
func (o *Observer) Namespaces() []string {
	wall, _ := o.cfg.Clock()
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.namespaces, func(_ string, t time.Time) bool { return wall.Sub(t) > namespaceLife })
	return slices.Sorted(maps.Keys(o.namespaces))
}

func (o *Observer) namespaceList() *observer.GetNamespacesResponse {
	out := &observer.GetNamespacesResponse{}
	for _, n := range o.Namespaces() {
		out.Namespaces = append(out.Namespaces, &observer.Namespace{Namespace: n})
	}
	return out
}
