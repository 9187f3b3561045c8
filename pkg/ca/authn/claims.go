package authn

import (
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.io/fairlead/pkg/ca"
)

// algorithms of ServiceAccount tokens: asymmetric ones alone, so that a public key is never taken for a secret.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// leeway is how far clocks may differ.
const leeway = 10 * time.Second

// bearing is what a verified token says of its bearer.
type bearing struct {
	pod     ca.PodRef
	node    ca.NodeRef // zero where the cluster writes none into tokens
	issued  time.Time
	expires time.Time
	method  ca.Method
}

// payload are the claims of a ServiceAccount token (Kubernetes: pkg/serviceaccount/claims.go).
type payload struct {
	jwt.Claims
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		Pod            *named `json:"pod"`
		Node           *named `json:"node"`
		ServiceAccount named  `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

type named struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// parsed is a token of which nothing is verified.
type parsed struct {
	token   *jwt.JSONWebToken
	payload payload
	kid     string
}

// parse reads a token, and refuses without a question to anybody what cannot be good, whoever signed it.
func parse(token string, audiences []string, now time.Time) (*parsed, *Refusal) {
	t, err := jwt.ParseSigned(token, algorithms)
	var algorithm *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &algorithm):
		return nil, refuse(TokenAlgorithm, "signature algorithm %q", string(algorithm.Got))
	case err != nil || len(t.Headers) != 1:
		return nil, refuse(TokenMalformed, "it is not a JSON web token in compact form")
	}
	p := &parsed{token: t, kid: t.Headers[0].KeyID}
	if err := t.UnsafeClaimsWithoutVerification(&p.payload); err != nil {
		return nil, refuse(TokenMalformed, "its claims cannot be read")
	}
	if r := p.judge(audiences, now); r != nil {
		r.Claim = p.claim()
		return nil, r
	}
	return p, nil
}

func (p *parsed) judge(audiences []string, now time.Time) *Refusal {
	c, k := p.payload.Claims, p.payload.Kubernetes
	switch {
	case c.Expiry == nil || *c.Expiry <= 0:
		return refuse(TokenMalformed, "it has no end")
	case now.After(c.Expiry.Time().Add(leeway)):
		return refuse(TokenExpired, "it ended at %s", c.Expiry.Time())
	case c.NotBefore != nil && now.Add(leeway).Before(c.NotBefore.Time()):
		return refuse(TokenEarly, "it begins at %s", c.NotBefore.Time())
	case !slices.ContainsFunc(audiences, c.Audience.Contains):
		return refuse(TokenAudience, "it is for %.200q, not for one of %q", []string(c.Audience), audiences)
	case k.Pod == nil || k.Pod.Name == "" || k.Pod.UID == "":
		return refuse(TokenUnbound, "it is not bound to a pod")
	case k.Namespace == "" || k.ServiceAccount.Name == "" || c.Subject != "system:serviceaccount:"+k.Namespace+":"+k.ServiceAccount.Name:
		return refuse(TokenMalformed, "its subject %.300q is not the ServiceAccount of its claims", c.Subject)
	}
	return nil
}

// claim says for the log who the token is of.
func (p *parsed) claim() string {
	k := p.payload.Kubernetes
	if k.Pod == nil {
		return cut(p.payload.Subject)
	}
	return cut(p.payload.Subject + " pod " + k.Pod.Name + " " + k.Pod.UID)
}

func cut(s string) string { return s[:min(len(s), 300)] }

// bearing is for a token that has been verified.
func (p *parsed) bearing(method ca.Method) bearing {
	k := p.payload.Kubernetes
	b := bearing{
		pod:     ca.PodRef{Namespace: k.Namespace, Name: k.Pod.Name, UID: k.Pod.UID, ServiceAccount: k.ServiceAccount.Name},
		expires: p.payload.Expiry.Time(), method: method,
	}
	if k.Node != nil {
		b.node = ca.NodeRef{Name: k.Node.Name, UID: k.Node.UID}
	}
	if p.payload.IssuedAt != nil {
		b.issued = p.payload.IssuedAt.Time()
	}
	return b
}
