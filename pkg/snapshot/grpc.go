package snapshot

import "strings"

// GRPCVariant is the variant for clients that are gRPC itself rather than Envoy; "grpc/NAMESPACE" that for those of a
// namespace.
const GRPCVariant = "grpc"

// grpcVariants are those of a client by what it says of itself. gRPC's agents are "gRPC Go", "gRPC Java", "gRPC C-core"
// with a platform, "gRPC Node Pure JS".
func grpcVariants(agent, namespace string) []string {
	switch {
	case !strings.HasPrefix(agent, "gRPC "):
		return nil
	case namespace == "":
		return []string{GRPCVariant}
	}
	return []string{GRPCVariant + "/" + namespace, GRPCVariant}
}
