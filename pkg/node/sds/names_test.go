package sds_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

var (
	elsewhere = spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/elsewhere")
	partner   = spiffeid.RequireTrustDomainFromString("partner.test")
)

// federated are the bundles of an authority and of a partner.
func federated(ca, other *nodetest.Authority) *node.Bundles {
	b := ca.Bundles()
	b.X509[partner] = other.Bundles().X509[nodetest.Domain]
	return b
}

// secrets reads resources by name.
func secrets(t *testing.T, list []*anypb.Any) map[string]*tlsv3.Secret {
	t.Helper()
	out := map[string]*tlsv3.Secret{}
	for _, a := range list {
		s := &tlsv3.Secret{}
		if err := a.UnmarshalTo(s); err != nil {
			t.Fatal(err)
		}
		out[s.GetName()] = s
	}
	return out
}

func roots(t *testing.T, source *core.DataSource) (out []*x509.Certificate) {
	t.Helper()
	for rest := source.GetInlineBytes(); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return out
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
}

// Both protocols serve what is of this node and what verifies others, every trust domain's; another name is not answered, also not
// as gone, until it is of this node.
func TestNamesOfThisNode(t *testing.T) {
	asked := []string{
		web.String(), "in/" + web.String(), elsewhere.String(), "in/" + elsewhere.String(), "fairlead/node", "fairlead/bundles",
		"bundle/cluster.local", "bundle/partner.test", "bundle/elsewhere.test", "kubeconfig", "",
	}
	has := []string{
		"bundle/cluster.local", "bundle/partner.test", "fairlead/bundles", "fairlead/node", "in/" + web.String(), web.String(),
	}
	for name, open := range map[string]func(*testing.T, secret.SecretDiscoveryServiceClient) (next func() map[string]*tlsv3.Secret){
		"delta": func(t *testing.T, c secret.SecretDiscoveryServiceClient) func() map[string]*tlsv3.Secret {
			stream, err := c.DeltaSecrets(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s := &subscriber{stream}
			s.send(t, &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "e"}, ResourceNamesSubscribe: asked})
			return func() map[string]*tlsv3.Secret {
				r := s.next(t)
				if len(r.GetRemovedResources()) > 0 {
					t.Errorf("%v were told to be gone", r.GetRemovedResources())
				}
				var list []*anypb.Any
				for _, x := range r.GetResources() {
					list = append(list, x.GetResource())
				}
				return secrets(t, list)
			}
		},
		"state of the world": func(t *testing.T, c secret.SecretDiscoveryServiceClient) func() map[string]*tlsv3.Secret {
			s, err := c.StreamSecrets(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			req := &discovery.DiscoveryRequest{Node: &core.Node{Id: "e"}, TypeUrl: secretType, ResourceNames: asked}
			return func() map[string]*tlsv3.Secret {
				if err := s.Send(req); err != nil {
					t.Fatal(err)
				}
				r, err := s.Recv()
				if err != nil {
					t.Fatal(err)
				}
				req.ResponseNonce, req.VersionInfo = r.GetNonce(), r.GetVersionInfo()
				return secrets(t, r.GetResources())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ca, other := nodetest.NewAuthority(t), nodetest.NewAuthority(t)
			s, path := newState(), folder(t)+"/s"
			s.set(func(c *content) { c.Bundles, c.Node = federated(ca, other), svid(t, ca, nodetest.NodeID) })
			s.give(svid(t, ca, web))
			serve(t, s, path)
			next := open(t, secret.NewSecretDiscoveryServiceClient(dial(t, path)))
			got := map[string]*tlsv3.Secret{}
			for len(got) < len(has) {
				for name, x := range next() {
					got[name] = x
				}
			}
			var names []string
			for n := range got {
				names = append(names, n)
			}
			slices.Sort(names)
			if !slices.Equal(names, has) {
				t.Fatalf("served %v\nwant %v", names, has)
			}
			validator := &tlsv3.SPIFFECertValidatorConfig{}
			if err := got["fairlead/bundles"].GetValidationContext().GetCustomValidatorConfig().GetTypedConfig().UnmarshalTo(validator); err != nil {
				t.Fatal(err)
			}
			want := map[string]*x509.Certificate{"cluster.local": ca.State().Roots()[0], "partner.test": other.State().Roots()[0]}
			for _, td := range validator.GetTrustDomains() {
				list := roots(t, td.GetTrustBundle())
				alone := roots(t, got["bundle/"+td.GetName()].GetValidationContext().GetTrustedCa())
				if len(list) != 1 || !list[0].Equal(want[td.GetName()]) || len(alone) != 1 || !alone[0].Equal(list[0]) {
					t.Errorf("trust domain %s has %d roots, alone %d", td.GetName(), len(list), len(alone))
				}
				delete(want, td.GetName())
			}
			if len(want) > 0 {
				t.Errorf("no roots of %v", want)
			}
			s.give(svid(t, ca, elsewhere)) // its pod is here now
			for got = map[string]*tlsv3.Secret{}; got[elsewhere.String()] == nil || got["in/"+elsewhere.String()] == nil; {
				for name, x := range next() {
					got[name] = x
				}
			}
		})
	}
}

func dial(t testing.TB, path string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// With several Envoys all are waited for, each is told at once, one that ends is waited for no more, and one that comes again has
// what is current.
func TestSeveralEnvoys(t *testing.T) {
	ca := nodetest.NewAuthority(t)
	s, path := newState(), folder(t)+"/s"
	s.set(func(c *content) { c.Bundles = ca.Bundles() })
	server := serve(t, s, path)
	open := func(id string) (*subscriber, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := secret.NewSecretDiscoveryServiceClient(dial(t, path)).DeltaSecrets(ctx)
		if err != nil {
			t.Fatal(err)
		}
		e := &subscriber{stream}
		e.send(t, &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: id}, ResourceNamesSubscribe: []string{"fairlead/bundles", web.String()}})
		e.next(t)
		return e, cancel
	}
	first, _ := open("old")
	second, end := open("new")
	served := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return server.Served(ctx)
	}
	ca.Trust()
	s.set(func(c *content) { c.Bundles = ca.Bundles() })
	first.next(t)
	held, err := second.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if err := served(); err == nil || !strings.Contains(err.Error(), "new") || strings.Contains(err.Error(), "old") {
		t.Errorf("one of two has not acknowledged: %v", err)
	}
	second.send(t, &discovery.DeltaDiscoveryRequest{ResponseNonce: held.GetNonce()})
	if err := server.Served(t.Context()); err != nil {
		t.Error(err)
	}
	next := svid(t, ca, web)
	s.give(next)
	for name, e := range map[string]*subscriber{"old": first, "new": second} {
		if r := e.next(t); len(r.GetResources()) != 1 || r.GetResources()[0].GetName() != web.String() {
			t.Errorf("%s was sent %v", name, r)
		}
	}
	ca.Trust()
	s.set(func(c *content) { c.Bundles = ca.Bundles() })
	first.next(t)
	end() // it has not acknowledged these
	if err := server.Served(t.Context()); err != nil {
		t.Error(err)
	}
	again, _ := open("new")
	s.take(web)
	for name, e := range map[string]*subscriber{"old": first, "again": again} {
		r := e.next(t)
		for len(r.GetRemovedResources()) == 0 { // the first answer of one that came again may be in two parts
			r = e.next(t)
		}
		if !slices.Equal(r.GetRemovedResources(), []string{web.String()}) {
			t.Errorf("%s was sent %v", name, r)
		}
	}
}
