package transport

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/snapshot"
)

// Admit says who a stream is served as (push.Config.Admit): the node in the credential is the node that is served. A workload
// is served as a gRPC client of its namespace, under a name that no node can have.
func (t *Transport) Admit(ctx context.Context, n snapshot.Node) (snapshot.Node, error) {
	c := authn.From(ctx)
	if c == nil {
		return snapshot.Node{}, status.Error(codes.Unauthenticated, "nobody is served without a credential")
	}
	switch {
	case c.Method == ca.Local:
		return n, nil
	case c.Kind == ca.Node && c.Node.Name != "" && n.ID == c.Node.Name:
		return n, nil
	case c.Kind == ca.Node:
		t.metrics.denied.WithLabelValues("node").Inc()
		return snapshot.Node{}, status.Errorf(codes.PermissionDenied,
			"node.id is %q, and the credential is that of node %q: set node.id to the name of the node", n.ID, c.Node.Name)
	case c.Kind == ca.Workload && n.GRPC():
		namespace, account, ok := ca.ParseWorkloadID(c.ID)
		if !ok {
			break
		}
		n.ID, n.Namespace = namespace+"/"+account+"/"+n.ID, namespace
		return n, nil
	case c.Kind == ca.Workload:
		t.metrics.denied.WithLabelValues("client").Inc()
		return snapshot.Node{}, status.Errorf(codes.PermissionDenied,
			"%s is the identity of a workload, which is served as a gRPC client only: an Envoy or an agent needs the identity of its node", c.ID)
	}
	return snapshot.Node{}, status.Error(codes.PermissionDenied, "this identity is not served")
}

// Allow says which types a stream may ask for (push.Config.Allow). A workload gets what gRPC asks for: no keys, no pods, no
// trust bundles.
func (t *Transport) Allow(ctx context.Context, typeURL string) error {
	c := authn.From(ctx)
	switch {
	case c == nil:
		return status.Error(codes.Unauthenticated, "nobody is served without a credential")
	case c.Method == ca.Local, c.Kind == ca.Node:
		return nil
	case c.Kind == ca.Workload && grpcTypes[typeURL]:
		return nil
	}
	t.metrics.denied.WithLabelValues("type").Inc()
	return status.Errorf(codes.PermissionDenied, "%s is not served to the identity of a workload", typeURL)
}

// grpcTypes are those that gRPC's xDS clients ask for (gRFC A27).
var grpcTypes = map[string]bool{
	"type.googleapis.com/envoy.config.listener.v3.Listener":              true,
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration":       true,
	"type.googleapis.com/envoy.config.cluster.v3.Cluster":                true,
	"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment": true,
}
