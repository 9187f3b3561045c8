package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"fairlead.io/fairlead/integration/mesh"
)

// TestGatewayProtocols sends what is not plain HTTP/1.1 through a gateway: HTTP/2 to h2c and to HTTP/1.1, gRPC, WebSocket.
func TestGatewayProtocols(t *testing.T) {
	a := mesh.NewBackend(t, "a")
	manifests := gatewayYAML("- {name: http, port: 80, protocol: HTTP}") + gatewayService("a", a) +
		mesh.Service{Name: "h2c", AppProtocol: "kubernetes.io/h2c"}.YAML(a.Address) +
		mesh.Service{Name: "named", PortName: "http2-x"}.YAML(a.Address) +
		mesh.Service{Name: "ws", AppProtocol: "kubernetes.io/ws"}.YAML(a.Address) +
		mesh.Service{Name: "grpc", PortName: "grpc"}.YAML(mesh.NewGRPC(t))
	for _, s := range []string{"a", "h2c", "named", "ws", "grpc"} {
		manifests += routeYAML(s, s+".test", "- backendRefs: [{name: "+s+", port: 80}]")
	}
	m := mesh.Start(t, mesh.Options{Manifests: manifests})
	for _, c := range []struct{ host, upstream string }{{"a.test", "HTTP/1.1"}, {"h2c.test", "HTTP/2.0"}, {"named.test", "HTTP/2.0"}, {"ws.test", "HTTP/1.1"}} {
		for _, http2 := range []bool{false, true} {
			got := expect(t, m, mesh.Request{Host: c.host, HTTP2: http2, Method: "POST", Body: "hello"}, 200)
			if got.Echo.Proto != c.upstream || got.Echo.Body != "hello" {
				t.Errorf("%s by HTTP/2 %v: backend saw %s with %q, want %s", c.host, http2, got.Echo.Proto, got.Echo.Body, c.upstream)
			}
		}
	}
	for _, host := range []string{"a.test", "ws.test"} {
		if err := upgraded(netip.AddrPortFrom(m.Address, 80), host); err != nil {
			t.Errorf("WebSocket to %s: %v", host, err)
		}
	}
	conn, err := grpc.NewClient("passthrough:///"+netip.AddrPortFrom(m.Address, 80).String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("grpc.test"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), mesh.Patience)
	defer cancel()
	res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || res.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("gRPC: %v, %v", res, err)
	}
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := stream.Recv(); err != nil || res.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("gRPC stream: %v, %v", res, err)
	}
}

// upgraded asks for a WebSocket and expects its bytes back.
func upgraded(to netip.AddrPort, host string) error {
	conn, err := net.DialTimeout("tcp", to.String(), 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(mesh.Patience)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host)
	if err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("status %s", res.Status)
	}
	if _, err := io.WriteString(conn, "ping"); err != nil {
		return err
	}
	echo := make([]byte, 4)
	if _, err := io.ReadFull(r, echo); err != nil {
		return err
	}
	if string(echo) != "ping" {
		return fmt.Errorf("echo %q", echo)
	}
	return nil
}
