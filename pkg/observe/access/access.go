// Package access says of whose flows a caller may see, by their Kubernetes token and the rights of its holder. See package filter for
// the line.
//
// A ServiceAccount needs the right to list flows.fairlead.io in a namespace, and to watch them there to follow; in all namespaces,
// by a ClusterRoleBinding, to see everything. There is no such resource in the API server: rights are granted to names.
package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"

	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// The resource that rights are about.
const (
	Group    = "fairlead.io"
	Resource = "flows"
)

const (
	// maxToken bounds a token, in bytes.
	maxToken = 16 << 10
	// maxNamespaces bounds how many reviews one request costs.
	maxNamespaces = 16
	// maxReviews bounds the requests whose reviews are under way.
	maxReviews = 16
	timeout    = 10 * time.Second
)

// Access asks the API server. It is safe for concurrent use.
type Access struct {
	tokens    authenticationclient.TokenReviewInterface
	rights    authorizationclient.SubjectAccessReviewInterface
	audiences []string
	slots     chan struct{}
}

// New gives an Access for tokens of one of the audiences.
func New(tokens authenticationclient.TokenReviewInterface, rights authorizationclient.SubjectAccessReviewInterface, audiences []string) (*Access, error) {
	if tokens == nil || rights == nil || len(audiences) == 0 {
		return nil, errors.New("make access to flows: reviews of tokens and rights, and an audience, are required")
	}
	return &Access{tokens: tokens, rights: rights, audiences: audiences, slots: make(chan struct{}, maxReviews)}, nil
}

// Scope is what the caller of a request may see; with a nil request everything or nothing. A request that does not name the
// namespaces that it is about is for who may see all.
func (a *Access) Scope(ctx context.Context, req *observer.GetFlowsRequest) (*filter.Scope, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	token, err := bearer(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return nil, status.Error(codes.Unavailable, "too many rights are under review; try again")
	}
	user, err := a.who(ctx, token)
	if err != nil {
		return nil, err
	}
	verbs := []string{"list"}
	if req.GetFollow() {
		verbs = append(verbs, "watch")
	}
	if ok, err := a.may(ctx, user, verbs, ""); ok || err != nil {
		return &filter.Scope{All: ok}, err
	}
	if req == nil {
		return &filter.Scope{}, nil
	}
	namespaces, ok := filter.Namespaces(req.GetWhitelist())
	if !ok {
		return nil, status.Errorf(codes.PermissionDenied, "%s may not %s %s.%s in all namespaces: name one with --namespace", user.Username, strings.Join(verbs, " and "), Resource, Group)
	}
	if len(namespaces) > maxNamespaces {
		return nil, status.Errorf(codes.InvalidArgument, "%d namespaces are more than %d: ask for fewer", len(namespaces), maxNamespaces)
	}
	for _, n := range namespaces {
		switch ok, err := a.may(ctx, user, verbs, n); {
		case err != nil:
			return nil, err
		case !ok:
			return nil, status.Errorf(codes.PermissionDenied, "%s may not %s %s.%s in namespace %s", user.Username, strings.Join(verbs, " and "), Resource, Group, n)
		}
	}
	return &filter.Scope{Namespaces: namespaces}, nil
}

func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 || len(values[0]) > maxToken {
		return "", status.Error(codes.Unauthenticated, "a ServiceAccount token is needed, one, as authorization: Bearer TOKEN")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if token = strings.TrimSpace(token); !ok || !strings.EqualFold(scheme, "Bearer") || strings.Count(token, ".") != 2 {
		return "", status.Error(codes.Unauthenticated, "authorization is not Bearer and a ServiceAccount token")
	}
	return token, nil
}

// who asks whose a token is.
func (a *Access) who(ctx context.Context, token string) (*authentication.UserInfo, error) {
	review, err := a.tokens.Create(ctx, &authentication.TokenReview{Spec: authentication.TokenReviewSpec{Token: token, Audiences: a.audiences}}, meta.CreateOptions{})
	if err != nil {
		return nil, status.Error(codes.Unavailable, "the API server cannot be asked about the token; try again")
	}
	s := &review.Status
	if !s.Authenticated || !slices.ContainsFunc(s.Audiences, func(x string) bool { return slices.Contains(a.audiences, x) }) {
		return nil, status.Errorf(codes.Unauthenticated, "the token is not taken: it must be of audience %s, and valid", strings.Join(a.audiences, " or "))
	}
	if s.User.Username == "" {
		return nil, status.Error(codes.Unauthenticated, "the token is of nobody")
	}
	return &s.User, nil
}

// may asks whether a user has all of some verbs in a namespace, "" for all namespaces.
func (a *Access) may(ctx context.Context, user *authentication.UserInfo, verbs []string, namespace string) (bool, error) {
	extra := map[string]authorization.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorization.ExtraValue(v)
	}
	for _, verb := range verbs {
		review, err := a.rights.Create(ctx, &authorization.SubjectAccessReview{Spec: authorization.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			ResourceAttributes: &authorization.ResourceAttributes{Verb: verb, Group: Group, Resource: Resource, Namespace: namespace},
		}}, meta.CreateOptions{})
		if err != nil {
			return false, status.Error(codes.Unavailable, fmt.Sprintf("the API server cannot be asked for the rights of %s; try again", user.Username))
		}
		if !review.Status.Allowed || review.Status.Denied {
			return false, nil
		}
	}
	return true, nil
}
