package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	barrierv1 "fairlead.io/fairlead/api/barrier/v1"
	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/svid"
	"fairlead.io/fairlead/pkg/translate"
)

const (
	webSVID   = "spiffe://cluster.local/ns/prod/sa/web"
	nodeSVID  = "spiffe://cluster.local/node/a/uid-a"
	clusters  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	secrets   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	grpcAgent = "gRPC Go"
)

// renew asks for the caller's own identity.
func renew(t *testing.T, conn *grpc.ClientConn) (string, error) {
	t.Helper()
	q := request(t, "", "", "", "")
	q.Certificates[0].Subject = nil
	out, err := cav1.NewCertificateAuthorityClient(conn).SignX509(t.Context(), q)
	if err != nil {
		return "", err
	}
	return out.GetResults()[0].GetSvid().GetSpiffeId(), nil
}

// stream opens a stream and subscribes; names is nil for everything.
func stream(t *testing.T, conn *grpc.ClientConn, node, userAgent, typeURL string, names ...string) (discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, *discovery.DeltaDiscoveryResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	s, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, nil, err
	}
	_ = s.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names, Node: &core.Node{Id: node, UserAgentName: userAgent}})
	m, err := s.Recv()
	return s, m, err
}

// A server that has not read what runs refuses nobody for good: a restart in an outage of the API server takes no identity away.
func TestUnreadServerAsksToComeAgain(t *testing.T) {
	i := newUnread(t)
	web, node := i.as(webSVID), i.as(nodeSVID)
	for name, conn := range map[string]*grpc.ClientConn{"a workload": web, "a node": node} {
		if id, err := renew(t, conn); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "does not serve yet") {
			t.Errorf("%s: %q, %v", name, id, err)
		}
		if _, _, err := stream(t, conn, "a", grpcAgent, clusters); status.Code(err) != codes.Unavailable {
			t.Errorf("%s asks for xDS: %v", name, err)
		}
	}
	i.read()
	for want, conn := range map[string]*grpc.ClientConn{webSVID: web, nodeSVID: node} {
		if id, err := renew(t, conn); err != nil || id != want {
			t.Errorf("%s after all was read: %q, %v", want, id, err)
		}
	}
}

// With its last pod a workload loses its certificate: it renews no more, and its streams end.
func TestWorkloadEndsWithItsLastPod(t *testing.T) {
	i := newIdentified(t)
	i.sink.Apply([]source.Update{put(podOn("b", "prod", "web-2", "web", nil))}, source.Position{Seen: 2, Complete: 2})
	eventually(t, func() error {
		if _, ok := i.flow.directory.Pod("prod", "web-2"); !ok {
			return context.DeadlineExceeded
		}
		return nil
	})
	conn := i.as(webSVID)
	s, _, err := stream(t, conn, "x", grpcAgent, clusters)
	if err != nil {
		t.Fatal(err)
	}
	gone := func(position uint64, pod string) {
		i.sink.Apply([]source.Update{{Ref: model.Ref{Kind: "Pod", Namespace: "prod", Name: pod}}}, source.Position{Seen: position, Complete: position})
		eventually(t, func() error {
			if _, ok := i.flow.directory.Pod("prod", pod); ok {
				return context.DeadlineExceeded
			}
			return nil
		})
	}
	gone(3, "web")
	if id, err := renew(t, conn); err != nil || id != webSVID {
		t.Fatalf("with a pod left: %q, %v", id, err)
	}
	gone(4, "web-2")
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	eventually(t, func() error { // the connection ends too; on a new one the certificate is known, and its pods are gone
		if _, err := renew(t, conn); status.Code(err) != codes.Unauthenticated {
			return context.DeadlineExceeded
		}
		return nil
	})
	if n := scrape(t, i, `fairlead_authn_refusals_total{reason="identity-not-running"}`); n == "" {
		t.Error("the refusal is not counted")
	}
}

// A stream gets what is its node's, whatever names it asks for.
func TestNamesOfAnotherNodeAreNotServed(t *testing.T) {
	i := newIdentified(t)
	a := i.as(nodeSVID)
	_, m, err := stream(t, a, "a", "fairlead-node", translate.WorkloadType, "uid-web", "uid-db")
	if err != nil || len(m.GetResources()) != 1 || m.GetResources()[0].GetName() != "uid-web" {
		t.Errorf("pods of another node by name: %v, %v", m, err)
	}
	_, m, err = stream(t, a, "a", "envoy", secrets, "spiffe://cluster.local/ns/prod/sa/db", webSVID)
	if err != nil || len(m.GetResources()) != 0 {
		t.Errorf("keys by xDS: %v, %v", m, err)
	}
	for _, typeURL := range []string{secrets, translate.WorkloadType, translate.TrustBundleType} {
		if _, m, err := stream(t, i.as(webSVID), "a", grpcAgent, typeURL); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s to a workload: %v, %v", typeURL, m, err)
		}
	}
	if _, m, err := stream(t, i.as(webSVID), "a", "envoy", clusters); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a workload as an Envoy: %v, %v", m, err)
	}
	if _, _, err := stream(t, i.as(webSVID), "a", grpcAgent, clusters); err != nil {
		t.Errorf("a gRPC client without a proxy: %v", err)
	}
}

// What replicas tell one another, and so what nodes have acknowledged, is for holders of the server's identity.
func TestProgressIsForReplicas(t *testing.T) {
	i := newIdentified(t)
	for id, want := range map[string]codes.Code{
		webSVID: codes.PermissionDenied, nodeSVID: codes.PermissionDenied, "": codes.Unauthenticated, "spiffe://cluster.local/ns/fairlead-system/sa/fairlead": codes.OK,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		s, err := barrierv1.NewBarrierClient(i.as(id)).Follow(ctx, &barrierv1.FollowRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("%q: %v; want %s", id, err, want)
		}
		cancel()
	}
}

// The bundle endpoint has public keys and nothing else.
func TestBundleEndpointIsPublicDataOnly(t *testing.T) {
	i := newIdentified(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // what it tells is looked at
	for path, want := range map[string]int{
		"/bundle": 200, "/keys": 200, "/": 404, "/metrics": 404, "/api/certificates": 404, "/debug/pprof/": 404, "/.well-known/openid-configuration": 404,
	} {
		res, err := client.Get("https://" + i.Bundles() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != want {
			t.Errorf("%s: %d, %v; want %d", path, res.StatusCode, err, want)
		}
		for _, private := range []string{`"d":`, `"k":`, `"p":`, "PRIVATE", webSVID} {
			if bytes.Contains(body, []byte(private)) {
				t.Errorf("%s has %s", path, private)
			}
		}
	}
	res, err := client.Post("https://"+i.Bundles()+"/bundle", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a bundle is taken: %d", res.StatusCode)
	}
}

// scrape gives the first line of the metrics that begins so.
func scrape(t *testing.T, i *identified, name string) string {
	t.Helper()
	page, err := admin.NewClient(i.Admin()).Raw(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(page), "\n")
	if n := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name) }); n >= 0 {
		return lines[n]
	}
	return ""
}

func TestMetricsOfIdentity(t *testing.T) {
	i := newIdentified(t)
	if _, err := renew(t, i.as(webSVID)); err != nil {
		t.Fatal(err)
	}
	if out, err := cav1.NewCertificateAuthorityClient(i.as(nodeSVID)).SignX509(t.Context(), request(t, "prod", "db", "uid-db", "db")); err != nil || out.GetResults()[0].GetError() == nil {
		t.Fatalf("%v, %v", out, err)
	}
	if _, err := renew(t, i.as("")); err == nil {
		t.Fatal("issued to nobody")
	}
	c, err := net.Dial("tcp", i.TLS())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	defer func() { _ = c.Close() }()
	eventually(t, func() error {
		if scrape(t, i, `fairlead_tls_handshake_failures_total{reason="plaintext"} 1`) == "" {
			return context.DeadlineExceeded
		}
		return nil
	})
	for _, name := range []string{
		`fairlead_ca_issue_seconds_count{kind="workload"} 1`, `fairlead_ca_issue_seconds_bucket{kind="workload",le="0.00025"}`,
		`fairlead_ca_failures_total{reason="pod-node"} 1`, `fairlead_ca_failures_total{reason="no-credential"} 1`,
		`fairlead_authn_refusals_total{reason="no-credential"} 1`, `fairlead_ca_certificate_expiry_seconds_bucket{`, `fairlead_ca_certificate_expiry_seconds_count 1`,
		`fairlead_ca_rotation_stage{`, `fairlead_ca_rotation_stage_age_seconds`, `fairlead_ca_rotation_waiting`,
		`fairlead_tls_handshake_seconds_count`, `fairlead_tls_strangers`,
	} {
		if scrape(t, i, name) == "" {
			t.Errorf("no %s", name)
		}
	}
}

// published are the keys of JWT-SVIDs as anybody may read them.
func published(t *testing.T, i *identified) map[string]crypto.PublicKey {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // whose it is is tested elsewhere
	res, err := client.Get("https://" + i.Bundles() + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	out := map[string]crypto.PublicKey{}
	for _, k := range set.Keys {
		if !k.IsPublic() {
			t.Errorf("key %s is not public", k.KeyID)
		}
		out[k.KeyID] = k.Key
	}
	return out
}

// A token is for somebody, for an hour at most, and verified with published keys as long as it lives, whatever signs meanwhile.
func TestJWTOfTheServer(t *testing.T) {
	i := newIdentified(t)
	service := cav1.NewCertificateAuthorityClient(i.as(webSVID))
	sign := func(ttl time.Duration, audience ...string) (string, error) {
		out, err := service.SignJWT(t.Context(), &cav1.SignJWTRequest{Audience: audience, Ttl: durationpb.New(ttl)})
		if err == nil && time.Until(out.GetExpires().AsTime()) > time.Hour {
			t.Errorf("ends at %s", out.GetExpires().AsTime())
		}
		return out.GetToken(), err
	}
	for _, audience := range [][]string{nil, {""}, {"bank", ""}, {strings.Repeat("a", 257)}, slices.Repeat([]string{"bank"}, 17)} {
		if token, err := sign(time.Minute, audience...); status.Code(err) != codes.InvalidArgument || token != "" {
			t.Errorf("for %d audiences: %v", len(audience), err)
		}
	}
	first, err := sign(100*time.Hour, "bank")
	if err != nil {
		t.Fatal(err)
	}
	good := func(token string) {
		t.Helper()
		if found := svid.CheckJWT(token, published(t, i), "bank", time.Now()); len(found) > 0 {
			t.Errorf("the token breaks %v", found)
		}
	}
	good(first)
	kid := func(token string) string {
		p, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		return p.Headers[0].KeyID
	}
	next, err := authority.GenerateJWTKey(time.Now().Add(-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.authority.Update(t.Context(), func(s authority.State) (authority.State, error) {
		s.JWT = slices.Clone(s.JWT)
		s.JWT[len(s.JWT)-1].NotAfter = time.Now().Add(25 * time.Hour)
		s.JWT, s.Sequence = append(s.JWT, next), s.Sequence+1
		return s, nil
	}); err != nil {
		t.Fatal(err)
	}
	var second string
	eventually(t, func() error {
		if second, err = sign(time.Minute, "bank"); err == nil && kid(second) != next.ID {
			err = context.DeadlineExceeded
		}
		return err
	})
	good(second)
	good(first) // which another key has signed
	if kid(first) == kid(second) {
		t.Error("one key has signed both")
	}
}
