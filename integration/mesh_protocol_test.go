package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"fairlead.io/fairlead/pkg/resolve"
)

// TestMeshProtocols chooses the protocol of a port by appProtocol, then by the prefix of its name, then TCP.
func TestMeshProtocols(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}})
	health := newHealthServer(t)
	_, healthPort, _ := net.SplitHostPort(health)
	m.apply("base", podYAML("shop", "a", 1, "app: a", "")+serviceYAML("shop", "a", "10.96.6.1", `{name: one, port: 8001, appProtocol: http},
  {name: http, port: 8002}, {name: http2-x, port: 8003}, {name: grpc, port: 8004}, {name: plain, port: 8005},
  {name: tcp-app, port: 8006, appProtocol: kubernetes.io/h2c}, {name: http-not, port: 8007, appProtocol: tcp}, {name: ws, port: 8008, appProtocol: kubernetes.io/ws}`)+
		entryYAML("health", "hosts: [health.test], addresses: [240.0.5.1], ports: [{number: 50051, name: grpc, protocol: GRPC}], resolution: STATIC, endpoints: [{address: 127.0.0.1, ports: {grpc: "+healthPort+"}}]"))

	for port, proto := range map[int]string{8001: "HTTP/1.1", 8002: "HTTP/1.1", 8003: "HTTP/2.0", 8004: "HTTP/2.0", 8005: "", 8006: "HTTP/2.0", 8007: "", 8008: "HTTP/1.1"} {
		to := fmt.Sprintf("10.96.6.1:%d", port)
		got := m.expect(t, meshCall{to: to}, want{pod: "1"})
		// Only a connection manager writes x-request-id.
		asHTTP := got.echo.Header.Get("x-request-id") != ""
		if asHTTP != (proto != "") || asHTTP && got.header.Get("x-proto") != proto {
			t.Errorf("port %d: the pod is spoken to in %s, as HTTP: %v; want %q", port, got.header.Get("x-proto"), asHTTP, proto)
		}
	}
	t.Run("HTTP/2 of the client", func(t *testing.T) {
		d := &dialer{stub: m.stub("web"), to: "10.96.6.1:8002"}
		tr := &http.Transport{DialContext: d.DialContext, Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		for range 10 {
			res, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Get("http://mesh.test/")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.Proto != "HTTP/2.0" || res.StatusCode != 200 || res.Header.Get("x-proto") != "HTTP/1.1" {
				t.Fatalf("%s %s, the pod is spoken to in %s", res.Proto, res.Status, res.Header.Get("x-proto"))
			}
		}
		if d.connected != 1 {
			t.Errorf("%d connections", d.connected)
		}
	})
	t.Run("gRPC", func(t *testing.T) {
		d := &dialer{stub: m.stub("web"), to: "240.0.5.1:50051"}
		conn, err := grpc.NewClient("passthrough:///health.test", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.DialContext(ctx, "", "") }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		until(t, "the health service answers", func() error {
			res, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
			if err == nil && res.Status != healthv1.HealthCheckResponse_SERVING {
				err = fmt.Errorf("%v", res)
			}
			return err
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		stream, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := stream.Recv(); err != nil || res.Status != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("stream: %v, %v", res, err)
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		for _, port := range []int{8002, 8008} {
			c, err := m.dial("web", fmt.Sprintf("10.96.6.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			r := bufio.NewReader(c)
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%v, %v", res, err)
			}
			fmt.Fprint(c, "frame\n")
			if line, err := r.ReadString('\n'); err != nil || line != "frame\n" {
				t.Errorf("port %d: %q, %v", port, line, err)
			}
		}
	})
	m.accepted()
}
