package workloadapi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"fairlead.io/fairlead/pkg/node"
)

const (
	maxAudiences = 16
	maxAudience  = 1024 // bytes of one
)

// FetchJWTSVID is the Workload API's (SPIFFE Workload API, 6.2.1).
func (s *Server) FetchJWTSVID(ctx context.Context, req *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	audience, err := audienceOf(req.GetAudience())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	var asked spiffeid.ID
	if req.GetSpiffeId() != "" {
		if asked, err = spiffeid.FromString(req.GetSpiffeId()); err != nil {
			return nil, status.Error(codes.InvalidArgument, "spiffe_id is not a SPIFFE ID")
		}
	}
	v, err := s.settle(ctx, false)
	if err != nil {
		return nil, err
	}
	if !asked.IsZero() && asked != v.svid.ID {
		return nil, errNone
	}
	j, err := s.tokens.get(ctx, callerOf(ctx).PodUID, audience, v)
	switch {
	case errors.Is(err, node.ErrUnknown):
		return nil, errNone
	case ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		s.Log.Warn("workload api: cannot sign JWT-SVID", "id", v.svid.ID, "error", err)
		return nil, status.Error(codes.Unavailable, "the JWT-SVID could not be signed")
	}
	if err := s.still(ctx); err != nil { // signing may have taken a while
		return nil, err
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: j.ID.String(), Svid: j.Token, Hint: s.Hint}}}, nil
}

// audienceOf is what was asked for, sorted, each once.
func audienceOf(asked []string) ([]string, error) {
	if len(asked) == 0 || len(asked) > maxAudiences {
		return nil, fmt.Errorf("audience must have 1 to %d values", maxAudiences)
	}
	out := slices.Clone(asked)
	slices.Sort(out)
	for _, a := range out {
		if a == "" || len(a) > maxAudience {
			return nil, fmt.Errorf("an audience must have 1 to %d bytes", maxAudience)
		}
	}
	return slices.Compact(out), nil
}

// ValidateJWTSVID is the Workload API's (6.2.3).
func (s *Server) ValidateJWTSVID(ctx context.Context, req *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	if req.GetAudience() == "" || req.GetSvid() == "" {
		return nil, status.Error(codes.InvalidArgument, "audience and svid are required")
	}
	v, err := s.settle(ctx, true)
	if err != nil {
		return nil, err
	}
	svid, err := jwtsvid.ParseAndValidate(req.GetSvid(), verifiers{v.bundles}, []string{req.GetAudience()})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	claims, err := structpb.NewStruct(svid.Claims)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the claims are not plain JSON")
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: svid.ID.String(), Claims: claims}, nil
}

// verifiers are the JWT keys of all trust domains as go-spiffe asks for them.
type verifiers struct{ *node.Bundles }

func (v verifiers) GetJWTBundleForTrustDomain(td spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	keys, ok := v.JWT[td]
	if !ok {
		return nil, fmt.Errorf("no JWT bundle of trust domain %s", td)
	}
	return jwtbundle.FromJWTAuthorities(td, keys), nil
}
