package nodetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

// Server is a control plane of a node's agent: workloads, bundles and certificates over TLS.
type Server struct {
	cav1.UnimplementedCertificateAuthorityServer
	CA      *Authority
	Source  *snapshot.Static
	Address string

	t    testing.TB
	grpc *grpc.Server
	push *push.Server
	done chan error

	mu sync.Mutex // guards what follows
	// Token is the one that is taken; TTL is of what is signed; Refuse, when set, fails calls as a whole.
	token    string
	ttl      time.Duration
	refuse   error
	noMTLS   bool
	position uint64
	shown    []string // the credentials of calls and streams, in their order
	signed   map[string]int
}

// NewServer gives one that runs on loopback until the end of the test. It takes the token "good".
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{CA: NewAuthority(t), Source: snapshot.NewStatic(), t: t, token: "good", ttl: time.Hour, signed: map[string]int{}}
	s.PublishTrust()
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start serves, on the same address as before if there was one.
func (s *Server) Start() {
	s.t.Helper()
	address := s.Address
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Address = l.Addr().String()
	opts := append(push.ServerOptions(), grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
	})))
	s.grpc = grpc.NewServer(opts...)
	cav1.RegisterCertificateAuthorityServer(s.grpc, s)
	s.push = push.New(push.Config{Source: s.Source, RetryMin: 200 * time.Millisecond, Admit: s.admit})
	s.push.Register(s.grpc)
	s.done = make(chan error, 1)
	go func(g *grpc.Server, done chan error) { done <- g.Serve(l) }(s.grpc, s.done)
}

// Stop ends the process, as it were: connections break.
func (s *Server) Stop() {
	if s.done == nil {
		return
	}
	s.grpc.Stop()
	// One that is stopped before it has begun to serve says so.
	if err := <-s.done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		s.t.Error(err)
	}
	s.done = nil
}

// certificate is the server's SVID with its root, as one that is found by a hash must show.
func (s *Server) certificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	x, err := s.CA.Issue(ServerID, key.Public(), time.Hour)
	if err != nil {
		return nil, err
	}
	out := &tls.Certificate{PrivateKey: key, Certificate: x.Raw}
	for _, root := range s.CA.State().Roots() {
		out.Certificate = append(out.Certificate, root.Raw)
	}
	return out, nil
}

// Set changes how the server behaves: the token that it takes, how long certificates are valid, how calls fail (nil: not), and
// whether it refuses certificates as a proof.
func (s *Server) Set(token string, ttl time.Duration, refuse error, noMTLS bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.ttl, s.refuse, s.noMTLS = token, ttl, refuse, noMTLS
}

// Shown lists the credentials of calls ("sign") and streams ("stream") so far: "sign token", "stream spiffe://…".
func (s *Server) Shown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shown)
}

// Signed tells how many certificates an identity was given.
func (s *Server) Signed(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signed[id]
}

// Status tells what became of what was sent.
func (s *Server) Status() *push.Status { return s.push.Status() }

// Put serves resources by name, and takes others away.
func (s *Server) Put(put []*snapshot.Resource, del ...snapshot.Key) {
	s.mu.Lock()
	s.position++
	at := s.position
	s.mu.Unlock()
	s.Source.Update(at, put, del...)
}

// PublishTrust serves the bundle of the authority as it is now.
func (s *Server) PublishTrust() {
	s.Put([]*snapshot.Resource{s.Encode(Domain.Name(), s.CA.Resource())})
}

// Encode makes the resource of a message.
func (s *Server) Encode(name string, m proto.Message) *snapshot.Resource {
	s.t.Helper()
	r, err := snapshot.Encode(name, m, s.position+1, model.Ref{Kind: "Test", Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// Run has pods run on the node "node-a".
func (s *Server) Run(pods ...keeper.Pod) {
	var put []*snapshot.Resource
	for _, p := range pods {
		w := &nodev1.Workload{Uid: p.UID, Namespace: p.Namespace, Name: p.Name, ServiceAccount: p.ServiceAccount, Node: "node-a", SpiffeId: p.ID.String()}
		put = append(put, s.Encode(p.UID, w))
	}
	s.Put(put)
}

// Finish takes pods away.
func (s *Server) Finish(uids ...string) {
	var del []snapshot.Key
	for _, uid := range uids {
		del = append(del, snapshot.Key{Type: "type.googleapis.com/fairlead.node.v1.Workload", Name: uid})
	}
	s.Put(nil, del...)
}

func (s *Server) admit(ctx context.Context, n snapshot.Node) (snapshot.Node, error) {
	return n, s.authenticate(ctx, "stream")
}

// authenticate takes the token, or a certificate of the node.
func (s *Server) authenticate(ctx context.Context, what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			return s.verify(what, info.State.PeerCertificates)
		}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	s.shown = append(s.shown, what+" token")
	if got := strings.Join(md.Get("authorization"), ""); got != "Bearer "+s.token {
		return status.Error(codes.Unauthenticated, "no such token")
	}
	return nil
}

func (s *Server) verify(what string, chain []*x509.Certificate) error {
	roots := x509.NewCertPool()
	for _, c := range s.CA.State().Roots() {
		roots.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil || s.noMTLS || len(chain[0].URIs) != 1 {
		s.shown = append(s.shown, what+" refused certificate")
		return status.Error(codes.Unauthenticated, "no such node")
	}
	s.shown = append(s.shown, what+" "+chain[0].URIs[0].String())
	return nil
}

// SignX509 implements fairlead.ca.v1.
func (s *Server) SignX509(ctx context.Context, req *cav1.SignX509Request) (*cav1.SignX509Response, error) {
	if err := s.authenticate(ctx, "sign"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &cav1.SignX509Response{}
	for _, c := range req.GetCertificates() {
		id := Subject(podOf(c.GetSubject()))
		r := s.CA.Result(id, keeper.Request{CSR: c.GetCsr(), TTL: s.ttl})
		if r.Err != nil {
			out.Results = append(out.Results, &cav1.X509Result{Outcome: &cav1.X509Result_Error{Error: &cav1.Error{Code: int32(codes.Internal), Message: r.Err.Error()}}})
			continue
		}
		s.signed[id.String()]++
		svid := &cav1.X509SVID{SpiffeId: id.String(), Authority: r.Authority, NotAfter: timestamppb.New(r.Chain[0].NotAfter)}
		for _, x := range r.Chain {
			svid.Chain = append(svid.Chain, x.Raw)
		}
		out.Results = append(out.Results, &cav1.X509Result{Outcome: &cav1.X509Result_Svid{Svid: svid}})
	}
	return out, nil
}

// SignJWT implements fairlead.ca.v1.
func (s *Server) SignJWT(ctx context.Context, req *cav1.SignJWTRequest) (*cav1.SignJWTResponse, error) {
	if err := s.authenticate(ctx, "sign"); err != nil {
		return nil, err
	}
	id := Subject(podOf(req.GetSubject()))
	token, expires, err := s.CA.SignJWT(authority.JWTTemplate{ID: id, Audience: req.GetAudience(), TTL: 5 * time.Minute})
	if err != nil {
		return nil, err
	}
	return &cav1.SignJWTResponse{SpiffeId: id.String(), Token: token, Expires: timestamppb.New(expires)}, nil
}

func podOf(s *cav1.Subject) *ca.PodRef {
	p := s.GetPod()
	if p == nil {
		return nil
	}
	return &ca.PodRef{Namespace: p.GetNamespace(), Name: p.GetName(), UID: p.GetUid(), ServiceAccount: p.GetServiceAccount()}
}
