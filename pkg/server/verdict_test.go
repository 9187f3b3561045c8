package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/translate"
)

const policyWorld = `
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: uid-web, labels: {app: web}}
spec: {nodeName: a, serviceAccountName: web}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, uid: uid-db, labels: {app: db}}
spec: {nodeName: b, serviceAccountName: db, containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
status: {podIP: 10.1.0.2}
---
apiVersion: v1
kind: Node
metadata: {name: a}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
`

const dbPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: %s}}}]
    ports: [{port: sql}]
`

// nodeAgent keeps what a node is served, and acknowledges all of it.
type nodeAgent struct {
	*testing.T
	stream   discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	received chan *discovery.DeltaDiscoveryResponse
}

func newNodeAgent(t *testing.T, s *Server, node string) *nodeAgent {
	t.Helper()
	conn, err := grpc.NewClient(s.XDS(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &nodeAgent{T: t, received: make(chan *discovery.DeltaDiscoveryResponse, 100)}
	if a.stream, err = discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx); err != nil {
		t.Fatal(err)
	}
	_ = a.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: translate.WorkloadType, Node: &core.Node{Id: node, UserAgentName: "fairlead-node"}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := a.stream.Recv()
			if err != nil {
				return
			}
			a.received <- m
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = conn.Close()
	})
	return a
}

func (a *nodeAgent) subscribe(typeURL string, names ...string) {
	_ = a.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

// next gives the next response, acknowledged.
func (a *nodeAgent) next() *discovery.DeltaDiscoveryResponse {
	a.Helper()
	select {
	case m := <-a.received:
		_ = a.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce})
		return m
	case <-time.After(20 * time.Second):
		a.Fatal("no response")
		return nil
	}
}

// one gives the only resource of the next response, which must be of a type.
func (a *nodeAgent) one(typeURL string, into proto.Message) string {
	a.Helper()
	m := a.next()
	if m.TypeUrl != typeURL || len(m.Resources) != 1 || len(m.RemovedResources) != 0 {
		a.Fatalf("a response of %d %s, %v removed, wanted one %s", len(m.Resources), m.TypeUrl, m.RemovedResources, typeURL)
	}
	if err := m.Resources[0].Resource.UnmarshalTo(into); err != nil {
		a.Fatal(err)
	}
	return m.Resources[0].Name
}

// TestPolicyOnTheWire reads a folder, and follows what the agent of a node is told.
func TestPolicyOnTheWire(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		temporary := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("world.yaml", policyWorld)
	write("policy.yaml", fmt.Sprintf(dbPolicy, "web"))
	s, _ := serving(t, files.New(files.Config{Dir: dir}))
	a := newNodeAgent(t, s, "b")
	workload, peers, set, members := &nodev1.Workload{}, map[string]*nodev1.Peer{}, &nodev1.VerdictSet{}, &nodev1.PeerSet{}
	if name := a.one(translate.WorkloadType, workload); name != "uid-db" || !strings.HasPrefix(workload.Identity, "cluster.local/ns/shop/sa/db/") {
		t.Fatalf("workload %s: %v", name, workload)
	}
	a.subscribe(translate.PeerType)
	for _, r := range a.next().Resources {
		p := &nodev1.Peer{}
		if err := r.Resource.UnmarshalTo(p); err != nil {
			t.Fatal(err)
		}
		peers[r.Name] = p
	}
	if len(peers) != 3 || peers["uid-db"].GetIdentity() != workload.Identity || peers["uid-web"].GetNode() != "a" || peers["node/a"].GetIdentity() != "node/a" {
		t.Fatalf("peers %v", peers)
	}
	a.subscribe(translate.VerdictSetType, workload.Identity)
	if name := a.one(translate.VerdictSetType, set); name != workload.Identity || len(set.Isolations) != 1 || len(set.Rules) != 2 {
		t.Fatalf("verdict set %s: %v", name, set)
	}
	names := peerSetsOf(set)
	if len(names) != 1 {
		t.Fatalf("peer sets %v", names)
	}
	a.subscribe(translate.PeerSetType, names...)
	if name := a.one(translate.PeerSetType, members); name != names[0] || !slices.Equal(members.Identities, []string{peers["uid-web"].Identity}) {
		t.Fatalf("peer set %s: %v", name, members)
	}

	write("policy.yaml", fmt.Sprintf(dbPolicy, "cart"))
	m := a.next()
	if m.TypeUrl != translate.VerdictSetType || len(m.Resources) != 1 {
		t.Fatalf("an edit of the policy is told by %v", m)
	}
	if err := m.Resources[0].Resource.UnmarshalTo(set); err != nil {
		t.Fatal(err)
	}
	if now := peerSetsOf(set); len(now) != 1 || now[0] == names[0] {
		t.Errorf("peer sets %v after %v", now, names)
	}
	if m := a.next(); m.TypeUrl != translate.PeerSetType || !slices.Equal(m.RemovedResources, names) {
		t.Errorf("the old peer set: %v", m)
	}
	select {
	case m := <-a.received:
		t.Errorf("the edit brought %v too", m)
	case <-time.After(100 * time.Millisecond):
	}
}

func peerSetsOf(s *nodev1.VerdictSet) (out []string) {
	for _, r := range s.Rules {
		for _, p := range r.Peers {
			if name := p.GetPeerSet(); name != "" {
				out = append(out, name)
			}
		}
	}
	return out
}
