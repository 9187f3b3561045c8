// Package bootstrap writes the bootstrap of a node's Envoy: where its control plane is, who it is, and the few things that
// cannot come over xDS.
//
// It stands beside push on the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim}: it is
// what makes an Envoy connect to push. It is written for the Envoy that hack/tools/versions.sh pins.
package bootstrap

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// EnvoyVersion is the Envoy that hack/tools/versions.sh pins and that the bootstrap is written for.
const EnvoyVersion = "1.40.0"

// XDSCluster is the name of the static cluster that leads to the control plane.
const XDSCluster = "fairlead-xds"

// Config is what differs between two Envoys.
type Config struct {
	NodeID   string         // node.id: what the control plane knows this Envoy by; required
	Cluster  string         // node.cluster; default "fairlead"
	Region   string         // locality, for endpoints in order of nearness
	Zone     string         //
	SubZone  string         //
	Metadata map[string]any // node.metadata: values that structpb.NewStruct takes

	// XDS is the control plane's delta ADS address: "127.0.0.1:15010", "[::1]:15010" or "unix:/path". The stream is plaintext,
	// so nothing but loopback and a Unix socket is accepted.
	XDS string
	// TLS takes the place of XDS: the control plane is elsewhere, and the node has an agent.
	TLS *TLS
	// Admin is Envoy's admin address, in the same forms; port 0 lets the kernel choose (Envoy's --admin-address-path tells the
	// choice). The admin interface can stop Envoy, so nothing but loopback and a Unix socket is accepted.
	Admin string
	// MaxConnections bounds the connections of all downstream listeners together (not the admin's); default 50,000.
	MaxConnections int64
}

// Bootstrap returns the bootstrap as JSON, for envoy -c FILE.json. The error names the field that is wrong.
func Bootstrap(c Config) ([]byte, error) {
	b, err := Proto(c)
	if err != nil {
		return nil, err
	}
	data, err := protojson.MarshalOptions{Multiline: true, UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode bootstrap: %w", err)
	}
	return data, nil
}

// Proto returns the bootstrap as Envoy's own message (envoy.config.bootstrap.v3.Bootstrap), for those who add to it.
func Proto(c Config) (*bootstrapv3.Bootstrap, error) {
	if c.NodeID == "" {
		return nil, errors.New("build bootstrap: NodeID is empty")
	}
	if c.Cluster == "" {
		c.Cluster = "fairlead"
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 50_000
	}
	metadata, err := structpb.NewStruct(c.Metadata)
	if err != nil {
		return nil, fmt.Errorf("build bootstrap: Metadata: %w", err)
	}
	var enc encoder
	clusters, err := c.clusters(&enc)
	if err != nil {
		return nil, fmt.Errorf("build bootstrap: %w", err)
	}
	admin, err := address(c.Admin)
	if err != nil {
		return nil, fmt.Errorf("build bootstrap: Admin: %w", err)
	}
	if pipe := admin.GetPipe(); pipe != nil {
		pipe.Mode = 0o600
	}
	b := &bootstrapv3.Bootstrap{
		Node: &corev3.Node{
			Id: c.NodeID, Cluster: c.Cluster, Metadata: metadata,
			Locality: &corev3.Locality{Region: c.Region, Zone: c.Zone, SubZone: c.SubZone},
		},
		StaticResources:  &bootstrapv3.Bootstrap_StaticResources{Clusters: clusters},
		DynamicResources: dynamicResources(),
		Admin:            &bootstrapv3.Admin{Address: admin, IgnoreGlobalConnLimit: true},
		LayeredRuntime:   runtime(),
		OverloadManager:  overload(&enc, c.MaxConnections),
		// Thousands of clusters see no traffic on a node: their traffic counters are made when the first request comes.
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
		StatsConfig:         statsConfig(),
		ClusterManager:      clusterManager(),
		// Without it an internal listener is refused, and the mesh's shared listener is one.
		BootstrapExtensions: []*corev3.TypedExtensionConfig{{
			Name: "envoy.bootstrap.internal_listener", TypedConfig: enc.any(&internalv3.InternalListener{}),
		}},
	}
	return b, enc.err
}

// clusters lead to the control plane.
func (c *Config) clusters(enc *encoder) ([]*clusterv3.Cluster, error) {
	switch {
	case c.TLS != nil && c.XDS != "":
		return nil, errors.New("XDS and TLS: give one of them")
	case c.TLS != nil:
		return tlsClusters(enc, c.TLS)
	}
	xds, err := address(c.XDS)
	if err != nil {
		return nil, fmt.Errorf("XDS: %w", err)
	}
	return xdsClusters(enc, xds), nil
}

// address parses "host:port" or "unix:/path" and refuses what leaves the machine.
func address(s string) (*corev3.Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		const sunPath = 108 // struct sockaddr_un, with the final NUL
		if path == "" || len(path) >= sunPath {
			return nil, fmt.Errorf("unix socket %q: the path must have 1 to %d bytes", path, sunPath-1)
		}
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return nil, fmt.Errorf("address %q is neither host:port nor unix:/path: %w", s, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %q: port must be 0 to 65535", s)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("address %q is not a loopback IP: use 127.0.0.1, [::1] or unix:/path", s)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(number)},
	}}}, nil
}

// encoder packs extensions; the first error stays.
type encoder struct{ err error }

func (e *encoder) any(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("build bootstrap: encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return a
}
