package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/federation"
	"fairlead.io/fairlead/pkg/ca/issue"
	"fairlead.io/fairlead/pkg/ca/rotate"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/server/transport"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

// Identity makes a server the certificate authority of the mesh, and serves xDS by TLS. Address and Store are required.
type Identity struct {
	// Address is the TLS port, host:port of any interface. Advertise is where other replicas reach it; default is Address,
	// with the address of this machine for an unspecified one.
	Address, Advertise string
	// DNS are the names in the certificate that is served.
	DNS []string
	// Aliases are further names of the trust domain.
	Aliases []spiffeid.TrustDomain
	// Account is the ServiceAccount of the control plane, and so its identity; NodeAgents are those whose pods act for
	// their node.
	Account    authn.ServiceAccount
	NodeAgents []authn.ServiceAccount
	// Audiences, Review and Keys prove tokens: see authn.Config.
	Audiences []string
	Review    authentication.TokenReviewInterface
	Keys      authn.KeySource
	// Rights tells whose flows an observer may see who calls with a token; nil shows nobody any by TLS.
	Rights authorization.SubjectAccessReviewInterface
	// Store keeps the authority; Policy bounds what it signs.
	Store  authority.Store
	Policy issue.Policy
	// ClockSkew is how far the clocks of the mesh are apart at most; rotate's default when zero.
	ClockSkew time.Duration
	// Election is where the replica is elected that rotates; nil where there is only one.
	Election *Election
	// Roster remembers the nodes over restarts; nil forgets them.
	Roster rotate.Roster
	// Publish is told the roots of the trust domain, PEM, whenever they are others; nil is nobody.
	Publish func(ctx context.Context, roots []byte) error
	// Federation is with other trust domains; nil is with none.
	Federation *Federation
}

// identity is the running Identity.
type identity struct {
	cfg       *Identity
	td        spiffeid.TrustDomain
	authority *authority.Authority
	transport *transport.Transport
	service   *issue.Service
	machine   *rotate.Machine
	elected   *elected
	listener  net.Listener
	grpc      *grpc.Server
	// consumer fetches bundles, bundles serves ours; nil where that is not wanted.
	consumer *federation.Consumer
	bundles  *http.Server
}

// wireIdentity makes the authority and the TLS port. It stands before push, which asks it whom to serve.
func (s *Server) wireIdentity(reg prometheus.Registerer) error {
	c := s.cfg.Identity
	td, err := spiffeid.TrustDomainFromString(s.cfg.Mesh.TrustDomain)
	if err != nil {
		return fmt.Errorf("trust domain %q: %w", s.cfg.Mesh.TrustDomain, err)
	}
	server, err := ca.WorkloadID(td, c.Account.Namespace, c.Account.Name)
	if err != nil {
		return fmt.Errorf("identity of the control plane: %w", err)
	}
	i := &identity{cfg: c, td: td, listener: s.tlsListener}
	log := s.cfg.Log
	i.authority = authority.New(authority.Config{TrustDomain: td, Aliases: c.Aliases, Store: c.Store, Log: log})
	proof, err := authn.New(authn.Config{
		TrustDomain: td, Aliases: c.Aliases, Server: server, Directory: s.flow.Directory(), NodeAgents: c.NodeAgents,
		Audiences: c.Audiences, Review: c.Review, Keys: c.Keys, Log: log, Registry: reg,
		Roots: i.roots,
	})
	if err != nil {
		return err
	}
	i.transport, err = transport.New(transport.Config{
		TrustDomain: td, Aliases: c.Aliases, Server: server, DNS: c.DNS, Authority: i.authority, Authn: proof,
		Directory: s.flow.Directory(), TTL: c.Policy.TTL, Ready: s.trusted, Log: log, Registry: reg,
	})
	if err != nil {
		return err
	}
	i.service, err = issue.New(issue.Config{
		TrustDomain: td, Aliases: c.Aliases, Authority: i.authority, Authn: i.transport.Authenticator(), Directory: s.flow.Directory(),
		Policy: c.Policy, Log: log, Registry: reg,
	})
	if err != nil {
		return err
	}
	i.grpc = grpc.NewServer(append(push.ServerOptions(), i.transport.ServerOptions()...)...)
	i.service.Register(i.transport.Services(i.grpc))
	s.identity = i
	return s.wireFederation(reg)
}

// wireRotation makes what rotates, which asks the barrier.
func (s *Server) wireRotation(reg prometheus.Registerer) {
	i := s.identity
	leads := func() bool { return true }
	if e := i.cfg.Election; e != nil {
		i.elected = &elected{cfg: e, log: s.cfg.Log}
		leads = i.elected.leads
	}
	longest := i.cfg.Policy.MaxTTL
	if longest == 0 {
		longest = issue.DefaultPolicy().MaxTTL
	}
	token := i.cfg.Policy.MaxJWTTTL
	if token == 0 {
		token = issue.DefaultPolicy().MaxJWTTTL
	}
	i.machine = rotate.New(rotate.Config{
		Authority: i.authority, Barrier: s.barrier, TrustDomain: i.td, Aliases: i.cfg.Aliases, Leads: leads, LongestTTL: longest,
		LongestJWT: token, Skew: i.cfg.ClockSkew, Roster: i.cfg.Roster, StoreErr: i.storeErr, Log: s.cfg.Log, Registry: reg,
	})
}

// storeErr is why the authority could not be read or written when that was last tried.
func (i *identity) storeErr() error {
	if s, ok := i.cfg.Store.(interface{ Err() error }); ok {
		return s.Err()
	}
	return nil
}

// trusted tells why nobody is served by TLS yet. Trust bundles come first: a node that was shown less than it has would drop
// what it needs.
func (s *Server) trusted() error {
	if err := s.ready(); err != nil {
		return err
	}
	if s.flow.Source.Latest().Get(snapshot.Key{Type: translate.TrustBundleType, Name: s.identity.td.Name()}) == nil {
		if err := s.identity.storeErr(); err != nil {
			return fmt.Errorf("the authority has not been read yet: %w", err)
		}
		if !s.isListed() {
			return errors.New("this replica's Lease has not been written yet, so other replicas do not know of it")
		}
		return errors.New("the authority has not been read yet")
	}
	return nil
}

// run starts the parts that have goroutines; each ends with ctx.
func (i *identity) run(ctx context.Context, g *errgroup.Group, s *Server) {
	g.Go(func() error {
		s.untilListed(ctx)
		return wrap("follow the authority", i.authority.Run(ctx))
	})
	g.Go(func() error {
		return rotate.Publish(ctx, i.authority, i.td, i.cfg.Aliases, s.flow.Resolved.Inputs.SetTrust)
	})
	g.Go(func() error { return wrap("rotate the authority", i.machine.Run(ctx)) })
	if i.elected != nil {
		g.Go(func() error { return wrap("elect who rotates", i.elected.run(ctx)) })
	}
	moved := make(chan struct{}, 1)
	g.Go(func() error { s.flow.directory.follow(ctx, moved); return nil })
	g.Go(func() error { i.transport.Run(ctx, moved); return nil })
	s.runFederation(ctx, g)
	if i.cfg.Publish != nil {
		g.Go(func() error { i.publish(ctx, s); return nil })
	}
	g.Go(func() error { return wrap("serve tls", i.grpc.Serve(i.transport.Listener(i.listener))) })
}

// publish tells the outside world the roots, from the replica that leads. It looks again once a minute, as somebody may
// change what was published, or lead no more.
func (i *identity) publish(ctx context.Context, s *Server) {
	for ctx.Err() == nil {
		changed, wait := i.authority.Changed(), time.Minute
		if roots := rootsPEM(i.authority.State()); len(roots) > 0 && (i.elected == nil || i.elected.leads()) {
			if err := i.cfg.Publish(ctx, roots); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("cannot publish the roots that new nodes verify the server with; trying again", "error", err)
				wait = 2 * time.Second
			}
		} else if i.elected != nil {
			wait = 2 * time.Second
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}
