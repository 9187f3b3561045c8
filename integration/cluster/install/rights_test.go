package install_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/cluster/install"
)

// read are the verbs of a watcher.
var read = []string{"get", "list", "watch"}

// granted is all that the server's account may do without being told a name, by "group/resource": in its own namespace, and in all
// others. What every account may (ask about itself) is among it.
func granted(own bool) map[string][]string {
	all := map[string][]string{
		"/namespaces": read, "/nodes": read, "/pods": read, "/services": read, "/secrets": read, "/configmaps": read,
		"networking.k8s.io/networkpolicies": read,
		"discovery.k8s.io/endpointslices":   read, "apiextensions.k8s.io/customresourcedefinitions": read,
		"authentication.k8s.io/tokenreviews": {"create"}, "authentication.k8s.io/selfsubjectreviews": {"create"},
		"authorization.k8s.io/subjectaccessreviews":     {"create"},
		"authorization.k8s.io/selfsubjectaccessreviews": {"create"}, "authorization.k8s.io/selfsubjectrulesreviews": {"create"},
	}
	for _, kind := range []string{"authorizationpolicies", "destinationrules", "gateways", "serviceentries", "sidecars", "virtualservices", "workloadentries"} {
		all["fairlead.io/"+kind], all["fairlead.io/"+kind+"/status"] = read, []string{"get", "patch"}
	}
	if own {
		all["/secrets"], all["/configmaps"] = append([]string{"create"}, read...), append([]string{"create"}, read...)
		all["coordination.k8s.io/leases"] = []string{"create", "delete", "get", "list", "patch", "update"}
	}
	return all
}

// rights asks the API server about every verb of every resource that it has.
func rights(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	config, err := c.Config()
	must(t, c, err)
	transport, err := rest.HTTPClientFor(config)
	must(t, c, err)
	defer transport.CloseIdleConnections()
	client, err := kubernetes.NewForConfigAndClient(config, transport)
	must(t, c, err)

	for namespace, want := range map[string]map[string][]string{install.Namespace: granted(true), "default": granted(false)} {
		got := map[string][]string{}
		for a := range ask(t, client, everything(t, client, namespace)) {
			key := a.Group + "/" + a.Resource
			if a.Subresource != "" {
				key += "/" + a.Subresource
			}
			got[key] = append(got[key], a.Verb)
		}
		for key, verbs := range got {
			slices.Sort(verbs)
			if w := slices.Sorted(slices.Values(want[key])); !slices.Equal(verbs, w) {
				t.Errorf("in namespace %s the server may %q %s, want %q", namespace, verbs, key, w)
			}
		}
		for key := range want {
			if got[key] == nil {
				t.Errorf("in namespace %s the server may do nothing with %s", namespace, key)
			}
		}
	}
	named(t, client)
	token(t, c, client)
}

// everything is each verb of each resource, in a namespace where it is of one, and those that only RBAC has.
func everything(t *testing.T, client kubernetes.Interface, namespace string) (all []authorizationv1.ResourceAttributes) {
	t.Helper()
	_, lists, err := client.Discovery().ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		t.Fatal(err)
	}
	for _, list := range lists {
		group, version, ok := strings.Cut(list.GroupVersion, "/")
		if !ok {
			group, version = "", group
		}
		for _, r := range list.APIResources {
			name, sub, _ := strings.Cut(r.Name, "/")
			a := authorizationv1.ResourceAttributes{Group: group, Version: version, Resource: name, Subresource: sub}
			if r.Namespaced {
				a.Namespace = namespace
			}
			for _, a.Verb = range append(slices.Clone(r.Verbs), "escalate", "bind", "impersonate", "approve", "sign", "*") {
				if !slices.ContainsFunc(all, func(b authorizationv1.ResourceAttributes) bool { b.Version = a.Version; return a == b }) {
					all = append(all, a)
				}
			}
		}
	}
	return all
}

// ask gives those that the server's account may do.
func ask(t *testing.T, client kubernetes.Interface, all []authorizationv1.ResourceAttributes) map[authorizationv1.ResourceAttributes]bool {
	t.Helper()
	user := "system:serviceaccount:" + install.Namespace + ":fairlead"
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + install.Namespace, "system:authenticated"}
	allowed := map[authorizationv1.ResourceAttributes]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	work := make(chan authorizationv1.ResourceAttributes)
	for range 8 {
		wg.Go(func() {
			for a := range work {
				review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: &a}}
				answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(context.WithoutCancel(t.Context()), review, metav1.CreateOptions{})
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else if answer.Status.Allowed {
					allowed[a] = true
				}
				mu.Unlock()
			}
		})
	}
	for _, a := range all {
		work <- a
	}
	close(work)
	wg.Wait()
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		t.Fatalf("ask about %d rights: %v", len(all), err)
	}
	return allowed
}

// named asks about what may be done to some names only.
func named(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	may := func(verb, resource, namespace, name string) bool {
		a := authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: resource, Namespace: namespace, Name: name}
		return ask(t, client, []authorizationv1.ResourceAttributes{a})[a]
	}
	for _, test := range []struct {
		resource, name string
		want           bool
	}{
		{"secrets", "fairlead-ca", true},
		{"secrets", "other", false},
		{"configmaps", "fairlead-trust-bundle", true},
		{"configmaps", "fairlead-nodes", true},
		{"configmaps", "kube-root-ca.crt", false},
	} {
		for _, namespace := range []string{install.Namespace, "default"} {
			want := test.want && namespace == install.Namespace
			if got := may("update", test.resource, namespace, test.name); got != want {
				t.Errorf("update %s %s/%s: %v, want %v", test.resource, namespace, test.name, got, want)
			}
			if may("delete", test.resource, namespace, test.name) || may("patch", test.resource, namespace, test.name) {
				t.Errorf("%s %s/%s can be deleted or patched", test.resource, namespace, test.name)
			}
		}
	}
}

// token tries it, with a token of the account.
func token(t *testing.T, c *cluster.Cluster, admin kubernetes.Interface) {
	t.Helper()
	secret, err := c.Kubectl(t.Context(), "", "create", "token", "-n", install.Namespace, "fairlead")
	must(t, c, err)
	config, err := c.Config()
	must(t, c, err)
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = strings.TrimSpace(secret)
	transport, err := rest.HTTPClientFor(config)
	must(t, c, err)
	defer transport.CloseIdleConnections()
	client, err := kubernetes.NewForConfigAndClient(config, transport)
	must(t, c, err)
	ctx := t.Context()
	pods, err := client.CoreV1().Pods(install.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("the token reads %v", err)
	}
	pod := pods.Items[0].Name
	for what, try := range map[string]func() error{
		"delete a pod": func() error { return client.CoreV1().Pods(install.Namespace).Delete(ctx, pod, metav1.DeleteOptions{}) },
		"write a Secret elsewhere": func() error {
			_, err := client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "stolen"}}, metav1.CreateOptions{})
			return err
		},
		"delete the authority": func() error {
			return client.CoreV1().Secrets(install.Namespace).Delete(ctx, "fairlead-ca", metav1.DeleteOptions{})
		},
		"make a token of another": func() error {
			_, err := client.CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("the token may %s: %v", what, err)
		}
	}
	if _, err := admin.CoreV1().Pods(install.Namespace).Get(ctx, pod, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
