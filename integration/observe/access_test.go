package observe

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/pkg/observe/access"
)

// installed is the ClusterRole of config/install that who may view a namespace has.
func installed(t *testing.T) *rbac.ClusterRole {
	t.Helper()
	data, err := os.ReadFile("../../config/install/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(data), "\n---\n") {
		r := &rbac.ClusterRole{}
		if err := yaml.Unmarshal([]byte(doc), r); err == nil && r.Kind == "ClusterRole" && r.Name == "fairlead-flows" {
			return r
		}
	}
	t.Fatal("config/install has no ClusterRole fairlead-flows")
	return nil
}

// TestAccess asks a real API server for the rights of ServiceAccounts by their tokens.
func TestAccess(t *testing.T) {
	server := kube.Start(t, kube.Options{})
	cfg := server.Config()
	cfg.QPS = -1
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	own, other := server.Namespace(t), server.Namespace(t)
	role := installed(t)
	role.Labels = nil // aggregation is the controller manager's, and there is none
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = client.RbacV1().ClusterRoles().Create(t.Context(), role, meta.CreateOptions{})
	must(err)
	token := func(account string, audience ...string) string {
		t.Helper()
		r, err := client.CoreV1().ServiceAccounts(own).CreateToken(t.Context(), account, &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{Audiences: audience}}, meta.CreateOptions{})
		must(err)
		return r.Status.Token
	}
	ref := rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: role.Name}
	for _, name := range []string{"watcher", "everywhere", "nobody"} {
		_, err := client.CoreV1().ServiceAccounts(own).Create(t.Context(), &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{})
		must(err)
	}
	subject := func(name string) []rbac.Subject {
		return []rbac.Subject{{Kind: "ServiceAccount", Namespace: own, Name: name}}
	}
	_, err = client.RbacV1().RoleBindings(own).Create(t.Context(), &rbac.RoleBinding{ObjectMeta: meta.ObjectMeta{Name: "watcher"}, RoleRef: ref, Subjects: subject("watcher")}, meta.CreateOptions{})
	must(err)
	_, err = client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbac.ClusterRoleBinding{ObjectMeta: meta.ObjectMeta{Name: "everywhere"}, RoleRef: ref, Subjects: subject("everywhere")}, meta.CreateOptions{})
	must(err)
	a, err := access.New(client.AuthenticationV1().TokenReviews(), client.AuthorizationV1().SubjectAccessReviews(), []string{"fairlead"})
	must(err)

	of := func(namespaces ...string) *observer.GetFlowsRequest {
		req := &observer.GetFlowsRequest{Follow: true}
		for _, n := range namespaces {
			req.Whitelist = append(req.Whitelist, &flow.FlowFilter{SourcePod: []string{n + "/"}}, &flow.FlowFilter{DestinationPod: []string{n + "/"}})
		}
		return req
	}
	watcher, everywhere, nobody := token("watcher", "fairlead"), token("everywhere", "fairlead"), token("nobody", "fairlead")
	for name, c := range map[string]struct {
		token string
		req   *observer.GetFlowsRequest
		all   bool
		scope []string
		code  codes.Code
	}{
		"own":                 {watcher, of(own), false, []string{own}, 0},
		"another":             {watcher, of(other), false, nil, codes.PermissionDenied},
		"own and another":     {watcher, of(own, other), false, nil, codes.PermissionDenied},
		"not named":           {watcher, of(), false, nil, codes.PermissionDenied},
		"everything":          {everywhere, of(), true, nil, 0},
		"no right":            {nobody, of(own), false, nil, codes.PermissionDenied},
		"another audience":    {token("watcher", "vault"), of(own), false, nil, codes.Unauthenticated},
		"of the API server":   {token("watcher"), of(own), false, nil, codes.Unauthenticated},
		"a signature that is": {watcher[:len(watcher)-8] + "AAAAAAAA", of(own), false, nil, codes.Unauthenticated},
	} {
		// RBAC sees what is written after a moment, so what is allowed may have to be asked for again.
		var got any
		var err error
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", "Bearer "+c.token))
			scope, e := a.Scope(ctx, c.req)
			if got, err = scope, e; status.Code(e) == c.code && (e != nil || scope.All == c.all && slices.Equal(scope.Namespaces, c.scope)) {
				got = nil
				break
			}
		}
		if got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
