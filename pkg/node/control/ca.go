package control

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
)

// patience is how long one call may take.
const patience = 20 * time.Second

// CA has certificates signed over a Link. It implements keeper.Signer.
type CA struct{ link *Link }

// NewCA gives a CA.
func NewCA(l *Link) *CA { return &CA{l} }

var _ keeper.Signer = (*CA)(nil)

// SignX509 implements keeper.Signer.
func (c *CA) SignX509(ctx context.Context, requests []keeper.Request) ([]keeper.Result, error) {
	in := &cav1.SignX509Request{}
	for _, r := range requests {
		x := &cav1.X509Request{Csr: r.CSR, Subject: subject(r.Pod)}
		if r.TTL > 0 {
			x.Ttl = durationpb.New(r.TTL)
		}
		in.Certificates = append(in.Certificates, x)
	}
	out, err := call(ctx, c.link, func(ctx context.Context, conn *Conn) (*cav1.SignX509Response, error) {
		return cav1.NewCertificateAuthorityClient(conn).SignX509(ctx, in)
	})
	if err != nil {
		return nil, fmt.Errorf("sign certificates: %w", err)
	}
	results := make([]keeper.Result, 0, len(out.GetResults()))
	for _, r := range out.GetResults() {
		results = append(results, result(r))
	}
	return results, nil
}

// SignJWT implements keeper.Signer.
func (c *CA) SignJWT(ctx context.Context, pod ca.PodRef, audience []string) (node.JWT, error) {
	out, err := call(ctx, c.link, func(ctx context.Context, conn *Conn) (*cav1.SignJWTResponse, error) {
		return cav1.NewCertificateAuthorityClient(conn).SignJWT(ctx, &cav1.SignJWTRequest{Subject: subject(&pod), Audience: audience})
	})
	if err != nil {
		return node.JWT{}, fmt.Errorf("sign token: %w", err)
	}
	id, err := spiffeid.FromString(out.GetSpiffeId())
	if err != nil {
		return node.JWT{}, fmt.Errorf("sign token: the server gave one for %q: %w", out.GetSpiffeId(), err)
	}
	return node.JWT{ID: id, Token: out.GetToken(), Expires: out.GetExpires().AsTime()}, nil
}

// call makes a call. A server that cannot be reached has the next one asked at once, each once; where the node's SVID is not
// taken the token is shown.
func call[T any](ctx context.Context, l *Link, do func(context.Context, *Conn) (T, error)) (out T, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range len(l.cfg.Servers) + 1 {
		var conn *Conn
		if conn, err = l.Use(); err != nil {
			return out, err
		}
		out, err = do(ctx, conn)
		conn.Done(err)
		code := status.Code(err)
		if err != nil {
			err = fmt.Errorf("server %s: %w", conn.Server, err)
		}
		if ctx.Err() != nil || code != codes.Unavailable && !(code == codes.Unauthenticated && conn.svid != nil) {
			break
		}
	}
	return out, err
}

func subject(p *ca.PodRef) *cav1.Subject {
	if p == nil {
		return nil
	}
	return &cav1.Subject{Of: &cav1.Subject_Pod{Pod: &cav1.Pod{Namespace: p.Namespace, Name: p.Name, Uid: p.UID, ServiceAccount: p.ServiceAccount}}}
}

func result(r *cav1.X509Result) keeper.Result {
	svid := r.GetSvid()
	if svid == nil {
		return keeper.Result{Err: status.Error(codes.Code(r.GetError().GetCode()), r.GetError().GetMessage())}
	}
	id, err := spiffeid.FromString(svid.GetSpiffeId())
	if err != nil {
		return keeper.Result{Err: fmt.Errorf("the server gave a certificate for %q: %w", svid.GetSpiffeId(), err)}
	}
	out := keeper.Result{ID: id, Authority: svid.GetAuthority()}
	for _, der := range svid.GetChain() {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return keeper.Result{Err: fmt.Errorf("read the certificate for %s: %w", id, err)}
		}
		out.Chain = append(out.Chain, c)
	}
	return out
}
