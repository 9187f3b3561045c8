package snapshot

import "strings"

// GRPCVariant is the variant for clients that are gRPC itself rather than Envoy; "grpc/NAMESPACE" that for those of a
// namespace.
const GRPCVariant = "grpc"

// GRPC tells that the client is gRPC itself, by what it says: "gRPC Go", "gRPC Java", "gRPC C-core" with a platform,
// "gRPC Node Pure JS".
func (n Node) GRPC() bool { return strings.HasPrefix(n.Agent, "gRPC ") }

func (n Node) grpcVariants() []string {
	switch {
	case !n.GRPC():
		return nil
	case n.Namespace == "":
		return []string{GRPCVariant}
	}
	return []string{GRPCVariant + "/" + n.Namespace, GRPCVariant}
}
