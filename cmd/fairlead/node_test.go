package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"fairlead.io/fairlead/pkg/admin"
)

// runNode is the command xdsnode of the scripts: `xdsnode NODE XDS-SOCKET CONTROL-SOCKET [AGENT]` is a client of delta ADS that
// subscribes to clusters, listeners and scopes, and to the endpoints and routes that those name; with AGENT (fairlead-node), to
// what the agent of a node does. It connects again when the stream ends. What it has is at http://CONTROL-SOCKET/have;
// /refuse?name=N makes it reject resources of that name, /hold keeps it from answering until /release.
func runNode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	n := &fakeNode{id: os.Args[1], refuse: map[string]bool{}, have: map[string]map[string]string{}}
	control, err := net.Listen("unix", os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() { _ = http.Serve(control, n) }() //nolint:gosec // a test's own socket
	for ctx.Err() == nil {
		err := n.follow(ctx, os.Args[2])
		if ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "stream ended:", err)
		}
	}
	return 0
}

type fakeNode struct {
	id string

	mu      sync.Mutex // guards what follows
	refuse  map[string]bool
	hold    bool // do not answer
	held    []*discovery.DeltaDiscoveryRequest
	stream  discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	have    map[string]map[string]string // by type and name: version
	streams int
	sent    int // resources received on the present stream
}

// follow keeps one stream until it ends.
func (n *fakeNode) follow(ctx context.Context, socket string) error {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.streams, n.sent, n.stream, n.held = n.streams+1, 0, stream, nil
	n.mu.Unlock()
	kinds, agent := []string{"clusters", "listeners", "scopes"}, "xdsnode"
	if len(os.Args) > 4 {
		kinds, agent = []string{"workloads", "trust"}, os.Args[4]
	}
	for i, kind := range kinds {
		req := &discovery.DeltaDiscoveryRequest{TypeUrl: admin.Kinds[kind][0], InitialResourceVersions: n.versions(kind)}
		if i == 0 {
			req.Node = &corev3.Node{Id: n.id, UserAgentName: agent}
		}
		if err := stream.Send(req); err != nil {
			return err
		}
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := n.reply(n.take(res)); err != nil {
			return err
		}
	}
}

// reply sends, or keeps until /release what is to be sent.
func (n *fakeNode) reply(list []*discovery.DeltaDiscoveryRequest) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held = append(n.held, list...); n.hold {
		return nil
	}
	for _, req := range n.held {
		if err := n.stream.Send(req); err != nil {
			return err
		}
	}
	n.held = nil
	return nil
}

func kindOf(typeURL string) string {
	for kind, urls := range admin.Kinds {
		if urls[0] == typeURL {
			return kind
		}
	}
	return typeURL
}

func (n *fakeNode) versions(kind string) map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]string{}
	for name, v := range n.have[kind] {
		out[name] = v
	}
	return out
}

// take keeps a response, unless something in it is to be refused, and gives what to send.
func (n *fakeNode) take(res *discovery.DeltaDiscoveryResponse) []*discovery.DeltaDiscoveryRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	kind := kindOf(res.TypeUrl)
	reply := &discovery.DeltaDiscoveryRequest{TypeUrl: res.TypeUrl, ResponseNonce: res.Nonce}
	for _, r := range res.Resources {
		n.sent++
		if n.refuse[r.Name] {
			reply.ErrorDetail = &rpc.Status{Code: 13, Message: "xdsnode does not like " + r.Name}
			return []*discovery.DeltaDiscoveryRequest{reply}
		}
	}
	if n.have[kind] == nil {
		n.have[kind] = map[string]string{}
	}
	var added []string
	for _, r := range res.Resources {
		if _, had := n.have[kind][r.Name]; !had {
			added = append(added, r.Name)
		}
		n.have[kind][r.Name] = r.Version
	}
	for _, name := range res.RemovedResources {
		delete(n.have[kind], name)
	}
	out := []*discovery.DeltaDiscoveryRequest{reply}
	if kind == "clusters" && len(added) > 0 {
		out = append(out, &discovery.DeltaDiscoveryRequest{TypeUrl: admin.Kinds["endpoints"][0], ResourceNamesSubscribe: added})
	}
	return out
}

// ServeHTTP is the control socket.
func (n *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/release" {
		n.mu.Lock()
		n.hold = false
		n.mu.Unlock()
		_ = n.reply(nil)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch r.URL.Path {
	case "/hold":
		n.hold = true
	case "/refuse":
		n.refuse[r.URL.Query().Get("name")] = true
	case "/accept":
		clear(n.refuse)
	case "/have":
		for kind, names := range n.have {
			for name, version := range names {
				hash, _, _ := strings.Cut(version, "@")
				fmt.Fprintf(w, "%s %s %s\n", kind, name, hash)
			}
		}
		fmt.Fprintf(w, "streams %d\nsent %d\n", n.streams, n.sent)
	default:
		http.Error(w, errors.ErrUnsupported.Error(), http.StatusNotFound)
	}
}
