package bootstrap

import (
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

func TestBootstrapIsEnvoysOwnMessage(t *testing.T) {
	data, err := Bootstrap(Config{
		NodeID: "node-a", Region: "r", Zone: "z", Metadata: map[string]any{"k": "v"},
		XDS: "unix:/run/fairlead/xds.sock", Admin: "127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	if err := b.ValidateAll(); err != nil {
		t.Errorf("Envoy's validation rules: %v", err)
	}
	if n := b.GetNode(); n.GetId() != "node-a" || n.GetCluster() != "fairlead" || n.GetLocality().GetZone() != "z" ||
		n.GetMetadata().GetFields()["k"].GetStringValue() != "v" {
		t.Errorf("node = %v", n)
	}
	ads := b.GetDynamicResources().GetAdsConfig()
	if ads.GetApiType() != corev3.ApiConfigSource_DELTA_GRPC || ads.GetGrpcServices()[0].GetEnvoyGrpc().GetClusterName() != XDSCluster {
		t.Errorf("ads = %v", ads)
	}
	endpoint := b.GetStaticResources().GetClusters()[0].GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0]
	if got := endpoint.GetEndpoint().GetAddress().GetPipe().GetPath(); got != "/run/fairlead/xds.sock" {
		t.Errorf("control plane at %q", got)
	}
}

func TestBootstrapNamesTheWrongField(t *testing.T) {
	good := Config{NodeID: "n", XDS: "127.0.0.1:15010", Admin: "[::1]:0"}
	if _, err := Bootstrap(good); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"no node id":        {func(c *Config) { c.NodeID = "" }, "NodeID"},
		"metadata":          {func(c *Config) { c.Metadata = map[string]any{"c": make(chan int)} }, "Metadata"},
		"plaintext xds":     {func(c *Config) { c.XDS = "10.0.0.1:15010" }, "XDS: address \"10.0.0.1:15010\" is not a loopback IP"},
		"admin to everyone": {func(c *Config) { c.Admin = "0.0.0.0:15000" }, "Admin: address \"0.0.0.0:15000\" is not a loopback IP"},
		"no port":           {func(c *Config) { c.XDS = "127.0.0.1" }, "neither host:port nor unix:/path"},
		"port range":        {func(c *Config) { c.XDS = "127.0.0.1:65536" }, "0 to 65535"},
		"long socket path":  {func(c *Config) { c.Admin = "unix:/" + strings.Repeat("x", 107) }, "1 to 107 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			test.edit(&c)
			if _, err := Bootstrap(c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}
