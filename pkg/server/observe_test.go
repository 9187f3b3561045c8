package server

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	observev1 "fairlead.io/fairlead/api/observe/v1"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/flows"
	"fairlead.io/fairlead/pkg/verdict"
)

// twoPods are the names of web and db, which are of two namespaces.
type twoPods struct{}

func (twoPods) Identity(n uint32) (name, workload string, labels map[string]string) {
	name = []string{"", "cluster.local/ns/prod/sa/web/00", "cluster.local/ns/data/sa/db/11"}[n]
	return name, "", map[string]string{"app": "x"}
}

func (twoPods) Pod(a netip.Addr) (namespace, name, node string) {
	if a.As4()[3] == 1 {
		return "prod", "web", "a"
	}
	return "data", "db-0", "b"
}
func (twoPods) Rule(uint32, uint32) (verdict.Rule, bool) { return verdict.Rule{}, false }
func (twoPods) Isolating(uint32, verdict.Direction, verdict.Family) []verdict.Origin {
	return nil
}

// rights has an API server to which some tokens are known, and which accounts may list and watch flows where.
func rights(of map[string][]string) (*fake.Clientset, func(*Config)) {
	c := fake.NewSimpleClientset()
	c.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authentication.TokenReview)
		name, ok := strings.CutPrefix(r.Spec.Token, "a.b.")
		r.Status = authentication.TokenReviewStatus{Authenticated: ok, Audiences: r.Spec.Audiences, User: authentication.UserInfo{Username: name}}
		return true, r, nil
	})
	c.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authorization.SubjectAccessReview)
		x := r.Spec.ResourceAttributes
		for _, right := range of[r.Spec.User] {
			if right == x.Verb+" "+x.Namespace && x.Group == "fairlead.io" && x.Resource == "flows" {
				r.Status.Allowed = true
			}
		}
		return true, r, nil
	})
	return c, func(cfg *Config) {
		cfg.Identity.Audiences = []string{"fairlead"}
		cfg.Identity.Review, cfg.Identity.Rights = c.AuthenticationV1().TokenReviews(), c.AuthorizationV1().SubjectAccessReviews()
	}
}

// names of both pods of a flow, as far as they are shown.
func shown(f *flow.Flow) string {
	return f.GetSource().GetNamespace() + "/" + f.GetSource().GetPodName() + " " + f.GetDestination().GetNamespace() + "/" + f.GetDestination().GetPodName()
}

// observed is the first flow that an observer gets.
func observed(t *testing.T, conn *grpc.ClientConn, token string, req *observer.GetFlowsRequest) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	s, err := observer.NewObserverClient(conn).GetFlows(ctx, req)
	if err != nil {
		return "", err
	}
	for {
		m, err := s.Recv()
		if err != nil || m.GetFlow() != nil {
			return shown(m.GetFlow()), err
		}
	}
}

// TestObserve has a node report, and looks who sees what: by the socket, and by TLS with tokens of several rights.
func TestObserve(t *testing.T) {
	dir, err := os.MkdirTemp("", "fl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	_, reviewed := rights(map[string][]string{
		"admin": {"list ", "watch "}, "web": {"list prod"}, "follower": {"list prod", "watch prod"}, "both": {"list prod", "list data"},
	})
	i := newBegun(t, func(c *Config) {
		reviewed(c)
		c.Observe = "unix:" + filepath.Join(dir, "o")
	})
	i.read()
	o, err := flows.New(flows.Config{Node: "a", Names: twoPods{}, Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	o.Record(&datapath.Event{
		Kind: datapath.FlowNew, Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("10.0.0.2"),
		SourceIdentity: 1, DestinationIdentity: 2, Protocol: 6, DestinationPort: 80,
	})
	reportTo(t, i.as(nodeSVID), o)
	local, err := grpc.NewClient("unix:"+filepath.Join(dir, "o"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	eventually(t, func() error { // until the node is there
		_, err := observed(t, local, "", &observer.GetFlowsRequest{})
		return err
	})
	stranger := i.as("")
	prod, none := []*flow.FlowFilter{{SourcePod: []string{"prod/"}}}, []*flow.FlowFilter{{Verdict: []flow.Verdict{flow.Verdict_FORWARDED}}}
	for name, c := range map[string]struct {
		conn  *grpc.ClientConn
		token string
		req   *observer.GetFlowsRequest
		want  string
		code  codes.Code
	}{
		"the socket":                  {local, "", &observer.GetFlowsRequest{}, "prod/web data/db-0", 0},
		"all":                         {stranger, "a.b.admin", &observer.GetFlowsRequest{}, "prod/web data/db-0", 0},
		"all follow":                  {stranger, "a.b.admin", &observer.GetFlowsRequest{Follow: true, Number: 1}, "prod/web data/db-0", 0},
		"one namespace":               {stranger, "a.b.web", &observer.GetFlowsRequest{Whitelist: prod}, "prod/web data/", 0},
		"two namespaces":              {stranger, "a.b.both", &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{{SourcePod: []string{"prod/"}}, {DestinationPod: []string{"data/"}}}}, "prod/web data/db-0", 0},
		"a namespace is not named":    {stranger, "a.b.web", &observer.GetFlowsRequest{Whitelist: none}, "/ /", codes.PermissionDenied},
		"another namespace":           {stranger, "a.b.web", &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{{SourcePod: []string{"data/"}}}}, "/ /", codes.PermissionDenied},
		"one of two namespaces":       {stranger, "a.b.web", &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{{SourcePod: []string{"prod/", "data/"}}}}, "/ /", codes.PermissionDenied},
		"follow without the right to": {stranger, "a.b.web", &observer.GetFlowsRequest{Whitelist: prod, Follow: true, Number: 1}, "/ /", codes.PermissionDenied},
		"follow":                      {stranger, "a.b.follower", &observer.GetFlowsRequest{Whitelist: prod, Follow: true, Number: 1}, "prod/web data/", 0},
		"nobody":                      {stranger, "", &observer.GetFlowsRequest{Whitelist: prod}, "/ /", codes.Unauthenticated},
		"a token that is not taken":   {stranger, "x.y.z", &observer.GetFlowsRequest{Whitelist: prod}, "/ /", codes.Unauthenticated},
		"no token":                    {stranger, "secret", &observer.GetFlowsRequest{Whitelist: prod}, "/ /", codes.Unauthenticated},
		"a workload is not enough":    {i.as(webSVID), "", &observer.GetFlowsRequest{Whitelist: prod}, "/ /", codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := observed(t, c.conn, c.token, c.req)
			if status.Code(err) != c.code || got != c.want && c.code == 0 {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer a.b.web")
	if _, err := observer.NewObserverClient(stranger).GetNamespaces(ctx, &observer.GetNamespacesRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("namespaces for one of them: %v", err)
	}
	ctx = metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer a.b.admin")
	if n, err := observer.NewObserverClient(stranger).GetNamespaces(ctx, &observer.GetNamespacesRequest{}); err != nil || len(n.GetNamespaces()) != 2 {
		t.Errorf("namespaces: %v, %v", n, err)
	}
}

// reportTo has a node's agent report until the test ends.
func reportTo(t *testing.T, conn *grpc.ClientConn, o *flows.Observer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := observev1.NewFlowsClient(conn).Report(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = o.Report(stream) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// TestWhoReports: flows come from nodes alone, and are gathered by replicas alone.
func TestWhoReports(t *testing.T) {
	i := newIdentified(t)
	for name, c := range map[string]struct {
		id      string
		report  codes.Code
		gathers codes.Code
	}{
		"nobody":     {"", codes.Unauthenticated, codes.Unauthenticated},
		"a workload": {webSVID, codes.PermissionDenied, codes.PermissionDenied},
		"a node":     {nodeSVID, codes.OK, codes.PermissionDenied},
		"a replica":  {"spiffe://cluster.local/ns/fairlead-system/sa/fairlead", codes.PermissionDenied, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			client := observev1.NewFlowsClient(i.as(c.id))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s, err := client.Report(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if c.report == codes.OK {
				if err := s.Send(&observev1.Answer{What: &observev1.Answer_Hello{Hello: &observev1.Hello{}}}); err != nil {
					t.Fatal(err)
				}
				eventually(t, func() error {
					if n := scrape(t, i, "fairlead_observe_nodes"); n != "fairlead_observe_nodes 1" {
						return context.DeadlineExceeded
					}
					return nil
				})
			} else if _, err := s.Recv(); status.Code(err) != c.report {
				t.Errorf("reports: %v", err)
			}
			g, err := client.Gather(ctx, &observev1.Ask{What: &observev1.Ask_Namespaces{}})
			if err != nil {
				t.Fatal(err)
			}
			if c.gathers != codes.OK {
				if _, err := g.Recv(); status.Code(err) != c.gathers {
					t.Errorf("gathers: %v", err)
				}
			} else if _, err := g.Recv(); err != nil && err.Error() != "EOF" {
				t.Errorf("gathers: %v", err)
			}
		})
	}
}
