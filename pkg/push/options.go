package push

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// window is how many bytes a client may send before they are taken in. It is fixed, or grpc would let it grow to
// megabytes for each of the clients that wait to be admitted.
const window = 256 << 10

// ServerOptions are what a gRPC server needs for long streams of Envoys: it accepts their keepalive pings (grpc-go's
// default ends a connection that pings more often than every 5 minutes; our bootstrap makes Envoy ping every 10 s), and
// notices by its own pings a client that is gone without a word. Resources are sent without being encoded again.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.MaxConcurrentStreams(1000),
		grpc.MaxRecvMsgSize(16 << 20), // a first request lists every resource that the client has
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(window),
		grpc.ForceServerCodecV2(newCodec()),
	}
}
