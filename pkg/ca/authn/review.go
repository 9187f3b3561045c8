package authn

import (
	"context"
	"slices"
	"time"

	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/authentication/v1"
)

const (
	reviewTimeout = 10 * time.Second
	// maxReviews bounds the questions to the API server that are under way.
	maxReviews = 64
)

// The extra fields of a token's user (Kubernetes: k8s.io/apiserver/pkg/authentication/serviceaccount).
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
	extraNodeUID  = "authentication.kubernetes.io/node-uid"
)

// reviewer asks the API server about tokens.
type reviewer struct {
	client    client.TokenReviewInterface
	audiences []string
	slots     chan struct{}
}

func newReviewer(c client.TokenReviewInterface, audiences []string) *reviewer {
	return &reviewer{c, audiences, make(chan struct{}, maxReviews)}
}

// verify has a token verified, and sees that the API server says the same of it as its claims do.
func (v *reviewer) verify(ctx context.Context, token string, p *parsed) *Refusal {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return later(TokenUnverified, "too many tokens are under review")
	}
	review, err := v.client.Create(ctx, &authentication.TokenReview{Spec: authentication.TokenReviewSpec{Token: token, Audiences: v.audiences}}, meta.CreateOptions{})
	if err != nil {
		return later(TokenUnverified, "the API server cannot be asked: %v", err)
	}
	s := review.Status
	if !s.Authenticated {
		return refuse(TokenRefused, "the API server says: %.300s", s.Error)
	}
	if !slices.ContainsFunc(s.Audiences, func(a string) bool { return slices.Contains(v.audiences, a) }) {
		return refuse(TokenAudience, "the API server believes it for %.200q alone", s.Audiences)
	}
	extra := func(key string) string {
		if values := s.User.Extra[key]; len(values) == 1 {
			return values[0]
		}
		return ""
	}
	b := p.bearing("")
	if extra(extraPodName) == "" || extra(extraPodUID) == "" {
		return refuse(TokenUnbound, "the API server knows no pod of it")
	}
	if s.User.Username != "system:serviceaccount:"+b.pod.Namespace+":"+b.pod.ServiceAccount ||
		extra(extraPodName) != b.pod.Name || extra(extraPodUID) != b.pod.UID ||
		extra(extraNodeName) != b.node.Name || extra(extraNodeUID) != b.node.UID {
		return refuse(TokenRefused, "the API server says another bearer than its claims: %.200q pod %.200q", s.User.Username, extra(extraPodName))
	}
	return nil
}
