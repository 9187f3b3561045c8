package loadclient

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3" // wraps TLS contexts
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"              // has TLS contexts
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// ref is a resource that another one needs; an empty name stands for all of a type.
type ref struct{ typeURL, name string }

// refsOf lists what an encoded resource makes a client ask for, each once.
func refsOf(typeURL string, body []byte) ([]ref, error) {
	var refs []ref
	add := func(typeURL, name string) { refs = append(refs, ref{typeURL, name}) }
	var err error
	switch typeURL {
	case xds.ClusterType:
		err = clusterRefs(body, add)
	case xds.ListenerType:
		l := &listener.Listener{}
		if err = proto.Unmarshal(body, l); err == nil {
			walk(l.ProtoReflect(), add)
		}
	case xds.RouteType:
		err = fields(body, func(n protowire.Number, _ []byte) {
			if n == 9 { // RouteConfiguration.vhds
				add(xds.VirtualHostType, "")
			}
		})
	case xds.ScopedRouteType:
		err = fields(body, func(n protowire.Number, v []byte) {
			if n == 2 { // ScopedRouteConfiguration.route_configuration_name
				add(xds.RouteType, string(v))
			}
		})
	}
	slices.SortFunc(refs, func(a, b ref) int {
		return cmp.Or(strings.Compare(a.typeURL, b.typeURL), strings.Compare(a.name, b.name))
	})
	return slices.Compact(refs), err
}

func clusterRefs(body []byte, add func(typeURL, name string)) error {
	c := &cluster.Cluster{}
	if err := proto.Unmarshal(body, c); err != nil {
		return err
	}
	if eds := c.GetEdsClusterConfig(); c.GetType() == cluster.Cluster_EDS && isADS(eds.GetEdsConfig()) {
		add(xds.EndpointType, cmp.Or(eds.GetServiceName(), c.GetName()))
	}
	// Most clusters have no secrets, and to walk through one costs ten times more than to decode it.
	if bytes.Contains(body, []byte("envoy.extensions.transport_sockets.")) {
		walk(c.ProtoReflect(), add)
	}
	return nil
}

// walk looks for references in a message and in all that it contains. What is packed with a type that this package does
// not import is passed over.
func walk(m protoreflect.Message, add func(typeURL, name string)) {
	switch v := m.Interface().(type) {
	case *anypb.Any:
		if inner, err := v.UnmarshalNew(); err == nil {
			walk(inner.ProtoReflect(), add)
		}
		return
	case *hcm.Rds:
		if isADS(v.GetConfigSource()) {
			add(xds.RouteType, v.GetRouteConfigName())
		}
		return
	case *hcm.ScopedRds:
		if isADS(v.GetScopedRdsConfigSource()) {
			add(xds.ScopedRouteType, "")
		}
		return
	case *tls.SdsSecretConfig:
		if isADS(v.GetSdsConfig()) {
			add(xds.SecretType, v.GetName())
		}
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { walk(v.Message(), add); return true })
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message(), add)
			}
		default:
			walk(v.Message(), add)
		}
		return true
	})
}

func isADS(s *core.ConfigSource) bool { return s.GetAds() != nil || s.GetSelf() != nil }

// short is the last part of a type URL, as people call the type: "Cluster".
func short(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }
