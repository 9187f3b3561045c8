package workloadapi

import (
	"crypto/x509"
	"fmt"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/node"
)

// FetchX509SVID is the Workload API's (SPIFFE Workload API, 5.2.1).
func (s *Server) FetchX509SVID(_ *workload.X509SVIDRequest, out grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return watch(out.Context(), s, "FetchX509SVID", false, s.x509SVID, out.Send)
}

// FetchX509Bundles is the Workload API's (5.2.2).
func (s *Server) FetchX509Bundles(_ *workload.X509BundlesRequest, out grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return watch(out.Context(), s, "FetchX509Bundles", true, func(v view) (*workload.X509BundlesResponse, error) {
		b, err := s.encoded.of(v.bundles)
		if err != nil {
			return nil, err
		}
		return &workload.X509BundlesResponse{Bundles: b.x509}, nil
	}, out.Send)
}

// FetchJWTBundles is the Workload API's (6.2.2).
func (s *Server) FetchJWTBundles(_ *workload.JWTBundlesRequest, out grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	return watch(out.Context(), s, "FetchJWTBundles", true, func(v view) (*workload.JWTBundlesResponse, error) {
		b, err := s.encoded.of(v.bundles)
		if err != nil {
			return nil, err
		}
		return &workload.JWTBundlesResponse{Bundles: b.jwt}, nil
	}, out.Send)
}

func (s *Server) x509SVID(v view) (*workload.X509SVIDResponse, error) {
	key, err := x509.MarshalPKCS8PrivateKey(v.svid.Key)
	if err != nil {
		return nil, fmt.Errorf("encode key of %s: not a kind that PKCS#8 knows", v.svid.ID)
	}
	b, err := s.encoded.of(v.bundles)
	if err != nil {
		return nil, err
	}
	own := v.svid.ID.TrustDomain().IDString()
	if len(b.x509[own]) == 0 {
		return nil, fmt.Errorf("encode SVID of %s: no bundle of its trust domain", v.svid.ID)
	}
	federated := make(map[string][]byte, len(b.x509))
	for td, der := range b.x509 {
		if td != own {
			federated[td] = der
		}
	}
	return &workload.X509SVIDResponse{
		Svids: []*workload.X509SVID{{
			SpiffeId: v.svid.ID.String(), X509Svid: concat(v.svid.Chain), X509SvidKey: key, Bundle: b.x509[own], Hint: s.Hint,
		}},
		FederatedBundles: federated,
	}, nil
}

// concat is how the Workload API carries certificates: DER, one after the other.
func concat(certs []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, c.Raw...)
	}
	return out
}

// encoded keeps bundles as they are sent, once for all streams: the last ones only. What it gives is not to be changed.
type encoded struct {
	last atomic.Pointer[encodedBundles]
}

type encodedBundles struct {
	of        *node.Bundles
	x509, jwt map[string][]byte // by the SPIFFE ID of the trust domain
}

func (e *encoded) of(b *node.Bundles) (*encodedBundles, error) {
	if last := e.last.Load(); last != nil && last.of == b {
		return last, nil
	}
	out := &encodedBundles{of: b, x509: map[string][]byte{}, jwt: map[string][]byte{}}
	for td, certs := range b.X509 {
		out.x509[td.IDString()] = concat(certs)
	}
	for td, keys := range b.JWT {
		doc, err := jwtbundle.FromJWTAuthorities(td, keys).Marshal()
		if err != nil {
			return nil, fmt.Errorf("encode JWT bundle of %s: %w", td, err)
		}
		out.jwt[td.IDString()] = doc
	}
	e.last.Store(out)
	return out, nil
}
