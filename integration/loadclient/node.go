package loadclient

import (
	"fmt"
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// EnvoyNode is client i as an Envoy with Fairlead's bootstrap: "load-0", "load-1" ….
func EnvoyNode(i int) *core.Node {
	return envoy(&core.Node{Id: "load-" + strconv.Itoa(i), Cluster: "fairlead"})
}

// IstioSidecar makes nodes that istiod takes for the sidecars of pods in a namespace.
func IstioSidecar(namespace string) func(i int) *core.Node {
	return func(i int) *core.Node {
		return istio("sidecar", namespace, i, map[string]any{"app": "load"})
	}
}

// IstioGateway makes nodes that istiod takes for gateways: pods of a namespace with these labels, which the selector of a
// Gateway finds.
func IstioGateway(namespace string, labels map[string]string) func(i int) *core.Node {
	own := map[string]any{}
	for k, v := range labels {
		own[k] = v
	}
	return func(i int) *core.Node { return istio("router", namespace, i, own) }
}

// istio writes the node id and the metadata that istiod reads (istio.io/istio pkg/model, Node and NodeMetadata).
func istio(role, namespace string, i int, labels map[string]any) *core.Node {
	ip := fmt.Sprintf("10.200.%d.%d", i/250, i%250+1)
	name := "load-" + strconv.Itoa(i)
	meta, err := structpb.NewStruct(map[string]any{
		"NAME": name, "NAMESPACE": namespace, "WORKLOAD_NAME": "load", "SERVICE_ACCOUNT": "default", "NODE_NAME": "node-0",
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "ISTIO_VERSION": "1.31.0", "INSTANCE_IPS": ip,
		"INTERCEPTION_MODE": "REDIRECT", "PROXY_CONFIG": map[string]any{}, "LABELS": labels,
	})
	if err != nil {
		panic(err) // a label that is not UTF-8: the caller's mistake, and nothing can go on
	}
	return envoy(&core.Node{
		Id:      fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", role, ip, name, namespace, namespace),
		Cluster: "load." + namespace, Metadata: meta,
	})
}

func envoy(n *core.Node) *core.Node {
	n.UserAgentName = "envoy"
	n.UserAgentVersionType = &core.Node_UserAgentBuildVersion{UserAgentBuildVersion: &core.BuildVersion{
		Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 40},
	}}
	return n
}
