package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	istio "istio.io/api/security/v1alpha1"

	cav1 "fairlead.io/fairlead/api/ca/v1"
)

// The audiences of tokens, as each API's clients ask for them.
const (
	istioAudience    = "istio-ca"
	fairleadAudience = "fairlead"
)

// authorityAt is a certificate authority that can be asked.
type authorityAt struct {
	address string
	roots   *x509.CertPool // of what it signs, its own certificate included
	// serverName is what its certificate must be for: a DNS name, or a SPIFFE ID.
	serverName string
}

// dial makes a connection, which comes about with the first call. The buffers are small: there may be thousands.
func (a authorityAt) dial(token string) (*grpc.ClientConn, error) {
	config := &tls.Config{RootCAs: a.roots, ServerName: a.serverName, MinVersion: tls.VersionTLS12}
	if strings.HasPrefix(a.serverName, "spiffe://") {
		// crypto/tls compares DNS names only.
		config.InsecureSkipVerify, config.ServerName = true, ""
		config.VerifyConnection = func(s tls.ConnectionState) error { return verifySPIFFE(s, a.roots, a.serverName) }
	}
	return grpc.NewClient("passthrough:///"+a.address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithUserAgent("fairlead-bench"), grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10),
		grpc.WithPerRPCCredentials(bearer(token)))
}

func verifySPIFFE(s tls.ConnectionState, roots *x509.CertPool, id string) error {
	above := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		above.AddCert(c)
	}
	leaf := s.PeerCertificates[0]
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != id {
		return fmt.Errorf("the server is %v, not %s", leaf.URIs, id)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above})
	return err
}

// bearer is a ServiceAccount token.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

// caller is one who asks for certificates, over a connection of its own.
type caller struct {
	conn *grpc.ClientConn
	ask  func(ctx context.Context, from []csr) ([]issued, error)
	each int // CSRs a call
}

// way is how callers ask.
type way struct {
	name     string
	audience string
	agents   bool // the callers are agents of nodes, who ask for the pods of their node
	each     int
	ask      func(conn *grpc.ClientConn, n csrNode) func(ctx context.Context, from []csr) ([]issued, error)
}

func istioWay() way {
	return way{"Istio's CreateCertificate", istioAudience, false, 1, func(conn *grpc.ClientConn, n csrNode) func(context.Context, []csr) ([]issued, error) {
		client := istio.NewIstioCertificateServiceClient(conn)
		return func(ctx context.Context, from []csr) ([]issued, error) {
			ctx = metadata.AppendToOutgoingContext(ctx, "clusterid", "Kubernetes")
			res, err := client.CreateCertificate(ctx, &istio.IstioCertificateRequest{Csr: from[0].pem, ValidityDuration: 24 * 3600})
			if err != nil {
				return nil, err
			}
			out := issued{pem: true, of: from[0], identity: n.pods[0].identity()}
			for _, c := range res.CertChain {
				out.chain = append(out.chain, []byte(c))
			}
			return []issued{out}, nil
		}
	}}
}

func singleWay() way {
	return way{"SignX509", fairleadAudience, false, 1, func(conn *grpc.ClientConn, n csrNode) func(context.Context, []csr) ([]issued, error) {
		return func(ctx context.Context, from []csr) ([]issued, error) {
			return signX509(ctx, conn, from, []*want{{id: n.pods[0].identity()}})
		}
	}}
}

func batchWay() way {
	return way{fmt.Sprintf("SignX509, %d CSRs a call", podsOfNode), fairleadAudience, true, podsOfNode, func(conn *grpc.ClientConn, n csrNode) func(context.Context, []csr) ([]issued, error) {
		wants := n.wants()
		return func(ctx context.Context, from []csr) ([]issued, error) { return signX509(ctx, conn, from, wants) }
	}}
}

// want is what the agent of a node asks for: the identity of a pod of it, or its own without a subject.
type want struct {
	id      string
	subject *cav1.Subject
}

// wants are the pods of a node.
func (n csrNode) wants() []*want {
	out := make([]*want, len(n.pods))
	for i, p := range n.pods {
		out[i] = &want{p.identity(), &cav1.Subject{Of: &cav1.Subject_Pod{Pod: &cav1.Pod{
			Namespace: p.namespace, Name: p.name, Uid: p.uid, ServiceAccount: p.account,
		}}}}
	}
	return out
}

// signX509 asks for one certificate each; one that is refused fails the call.
func signX509(ctx context.Context, conn *grpc.ClientConn, from []csr, wants []*want, o ...grpc.CallOption) ([]issued, error) {
	req := &cav1.SignX509Request{Certificates: make([]*cav1.X509Request, len(wants))}
	for i, w := range wants {
		req.Certificates[i] = &cav1.X509Request{Csr: from[i].der, Subject: w.subject, Ttl: durationpb.New(day)}
	}
	res, err := cav1.NewCertificateAuthorityClient(conn).SignX509(ctx, req, o...)
	if err != nil {
		return nil, err
	}
	if len(res.Results) != len(wants) {
		return nil, fmt.Errorf("%d results for %d CSRs", len(res.Results), len(wants))
	}
	out := make([]issued, len(wants))
	for i, r := range res.Results {
		svid := r.GetSvid()
		if svid == nil {
			return nil, fmt.Errorf("%s: refused with code %d: %s", wants[i].id, r.GetError().GetCode(), r.GetError().GetMessage())
		}
		out[i] = issued{chain: svid.Chain, of: from[i], identity: wants[i].id}
	}
	return out, nil
}

// callers connect, one on each of the first n nodes. The caller closes them, also after an error.
func (w *csrWorld) callers(ctx context.Context, at authorityAt, n int, how way) ([]*caller, error) {
	var out []*caller
	for i := range n {
		node := w.nodes[i]
		who := node.pods[0]
		if how.agents {
			who = node.agent
		}
		token, err := w.token(ctx, who, how.audience)
		if err != nil {
			return out, err
		}
		conn, err := at.dial(token)
		if err != nil {
			return out, err
		}
		out = append(out, &caller{conn, how.ask(conn, node), how.each})
	}
	return out, nil
}

func closeAll(callers []*caller) error {
	var errs []error
	for _, c := range callers {
		errs = append(errs, c.conn.Close())
	}
	return errors.Join(errs...)
}
