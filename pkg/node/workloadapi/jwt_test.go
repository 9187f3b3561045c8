package workloadapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/attest"
	"fairlead.io/fairlead/pkg/node/workloadapi/idtest"
)

func TestJWT(t *testing.T) {
	r := start(t)
	r.Set("a")
	ctx, c := headed(within(t), "true"), raw(t, r, "a")
	for name, want := range map[string]struct {
		req  *workload.JWTSVIDRequest
		code codes.Code
	}{
		"plain":             {&workload.JWTSVIDRequest{Audience: []string{"db"}}, codes.OK},
		"own identity":      {&workload.JWTSVIDRequest{Audience: []string{"db"}, SpiffeId: "spiffe://example.org/ns/test/sa/pod-a"}, codes.OK},
		"another identity":  {&workload.JWTSVIDRequest{Audience: []string{"db"}, SpiffeId: "spiffe://example.org/ns/test/sa/pod-b"}, codes.PermissionDenied},
		"no identity":       {&workload.JWTSVIDRequest{Audience: []string{"db"}, SpiffeId: "pod-a"}, codes.InvalidArgument},
		"no audience":       {&workload.JWTSVIDRequest{}, codes.InvalidArgument},
		"an empty audience": {&workload.JWTSVIDRequest{Audience: []string{"db", ""}}, codes.InvalidArgument},
		"a long audience":   {&workload.JWTSVIDRequest{Audience: []string{strings.Repeat("a", maxAudience+1)}}, codes.InvalidArgument},
		"many audiences":    {&workload.JWTSVIDRequest{Audience: strings.Split(strings.Repeat("a,", maxAudiences)+"a", ",")}, codes.InvalidArgument},
	} {
		if out, err := c.FetchJWTSVID(ctx, want.req); status.Code(err) != want.code || err == nil && len(out.GetSvids()) != 1 {
			t.Errorf("%s: %v, %v; want %s", name, out, err, want.code)
		}
	}
	if r.Signed() != 1 {
		t.Errorf("%d tokens were signed, want 1", r.Signed())
	}
	r.RefuseJWT(errors.New("the secret reason"))
	_, err := c.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"other"}})
	if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "secret") {
		t.Errorf("signing fails: %v", err)
	}
}

func TestValidate(t *testing.T) {
	r := start(t)
	r.Set("a")
	r.Set("b")
	a, b := r.client("a"), r.client("b")
	svid, err := a.FetchJWTSVID(within(t), jwtsvid.Params{Audience: "db", ExtraAudiences: []string{"cache"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, audience := range []string{"db", "cache"} {
		got, err := b.ValidateJWTSVID(within(t), svid.Marshal(), audience)
		if err != nil || got.ID != svid.ID || fmt.Sprint(got.Claims["sub"]) != svid.ID.String() || got.Claims["exp"] == nil {
			t.Errorf("audience %s: %+v, %v", audience, got, err)
		}
	}
	c := raw(t, r, "b")
	parts := strings.Split(svid.Marshal(), ".")
	for name, req := range map[string]*workload.ValidateJWTSVIDRequest{
		"another audience": {Audience: "web", Svid: svid.Marshal()},
		"no audience":      {Svid: svid.Marshal()},
		"no token":         {Audience: "db"},
		"no signature":     {Audience: "db", Svid: parts[0] + "." + parts[1] + "."},
		"no JWT":           {Audience: "db", Svid: "x"},
		"alg none":         {Audience: "db", Svid: "eyJhbGciOiJub25lIn0." + parts[1] + "."},
	} {
		if out, err := c.ValidateJWTSVID(headed(within(t), "true"), req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	r.Distribute()
	r.Sign()
	r.Retire()
	if _, err := b.ValidateJWTSVID(within(t), svid.Marshal(), "db"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("of a key that is gone: %v", err)
	}
}

// alone is a server without a socket, for tests of time.
func alone(t *testing.T) (*Server, *idtest.Identities) {
	i := idtest.New(t, domain)
	return New(Config{Identities: i, Attestor: &processes{}}), i
}

func called(ctx context.Context, uid string) context.Context {
	return context.WithValue(ctx, callerKey{}, attest.NewCaller(uid, 1, &proof{of: &processes{}}))
}

func (s *Server) token(t *testing.T, uid string, audience ...string) string {
	t.Helper()
	out, err := s.FetchJWTSVID(called(t.Context(), uid), &workload.JWTSVIDRequest{Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	return out.GetSvids()[0].GetSvid()
}

func TestTokensAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := alone(t)
		i.Set("a")
		i.Set("b")
		first := s.token(t, "a", "x", "y")
		if s.token(t, "a", "y", "x", "y") != first || i.Signed() != 1 {
			t.Error("the order of audiences makes another token")
		}
		if s.token(t, "b", "x", "y") == first || s.token(t, "a", "x") == first || s.token(t, "a", "x\x00y") == first {
			t.Error("another pod or audience gets the same token")
		}
		time.Sleep(idtest.TTL/2 - time.Second)
		if s.token(t, "a", "x", "y") != first {
			t.Error("signed again in the first half of its life")
		}
		time.Sleep(time.Second)
		second := s.token(t, "a", "x", "y")
		if second == first {
			t.Error("kept beyond half of its life")
		}
		i.Distribute()
		i.Sign()
		if s.token(t, "a", "x", "y") != second {
			t.Error("signed again though its key is trusted")
		}
		i.Retire()
		if s.token(t, "a", "x", "y") == second {
			t.Error("kept though its key is gone")
		}
	})
}

func TestTokensAreBounded(t *testing.T) {
	s, i := alone(t)
	for p := range 40 {
		i.Set(fmt.Sprint(p))
	}
	s.tokens.most, s.tokens.perPod = 64, 4
	for p := range 40 {
		for a := range 6 {
			s.token(t, fmt.Sprint(p), fmt.Sprint(a))
		}
	}
	if n := s.tokens.used.Len(); n != 64 || len(s.tokens.byKey) != 64 || len(s.tokens.ofPod) != 16 {
		t.Errorf("%d tokens of %d pods are kept, want 64 of 16", n, len(s.tokens.ofPod))
	}
	before := i.Signed()
	s.token(t, "39", "5")
	s.token(t, "39", "2")
	if i.Signed() != before {
		t.Error("those that were used last are not kept")
	}
	if s.token(t, "39", "1"); i.Signed() != before+1 {
		t.Error("a pod keeps more than its share")
	}
}

// slow signs when it is told.
type slow struct {
	*idtest.Identities
	begun, go_ chan struct{}
}

func (s slow) JWT(ctx context.Context, uid string, audience []string) (node.JWT, error) {
	s.begun <- struct{}{}
	select {
	case <-s.go_:
		return s.Identities.JWT(ctx, uid, audience)
	case <-ctx.Done():
		return node.JWT{}, ctx.Err()
	}
}

// Those who ask for the same at a time have one token signed, also when the first of them gives up.
func TestTokensTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := alone(t)
		i.Set("a")
		late := slow{i, make(chan struct{}), make(chan struct{})}
		s.tokens.identities = late
		ctx, giveUp := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			_, err := s.FetchJWTSVID(called(ctx, "a"), &workload.JWTSVIDRequest{Audience: []string{"x"}})
			if status.Code(err) != codes.Canceled {
				t.Errorf("the first: %v", err)
			}
		})
		<-late.begun
		for range 10 {
			all.Go(func() { s.token(t, "a", "x") })
		}
		synctest.Wait()
		giveUp()
		synctest.Wait()
		close(late.go_)
		all.Wait()
		if i.Signed() != 1 {
			t.Errorf("%d tokens were signed, want 1", i.Signed())
		}
	})
}

// A caller that is of another pod by the time its token has been signed does not get it, nor does anybody get one that is of
// another identity than the pod's.
func TestTokenOfAnotherByNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := alone(t)
		i.Set("a")
		late := slow{i, make(chan struct{}), make(chan struct{})}
		s.tokens.identities = late
		procs := &processes{}
		ctx := context.WithValue(t.Context(), callerKey{}, attest.NewCaller("a", 1, &proof{of: procs}))
		done := make(chan error)
		go func() {
			_, err := s.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"x"}})
			done <- err
		}()
		<-late.begun
		procs.set(attest.ErrMoved)
		close(late.go_)
		if err := <-done; status.Code(err) != codes.PermissionDenied {
			t.Errorf("a caller that has moved: %v", err)
		}
		s.tokens.identities = foreign{i}
		_, err := s.FetchJWTSVID(called(t.Context(), "a"), &workload.JWTSVIDRequest{Audience: []string{"y"}})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("a token of another identity: %v", err)
		}
	})
}

// foreign signs for another pod.
type foreign struct{ *idtest.Identities }

func (f foreign) JWT(ctx context.Context, _ string, audience []string) (node.JWT, error) {
	f.Set("b")
	return f.Identities.JWT(ctx, "b", audience)
}

// X509 has the pod be another one.
func (f foreign) X509(string) (*node.SVID, <-chan struct{}, error) { return f.Identities.X509("b") }

// A token that was kept is not given once its pod has another identity.
func TestKeptTokenOfFormerIdentity(t *testing.T) {
	s, i := alone(t)
	i.Set("a")
	first := s.token(t, "a", "x")
	i.Set("b")
	s.Identities, s.tokens.identities = foreign{i}, foreign{i}
	if s.token(t, "a", "x") == first {
		t.Error("a token of the former identity")
	}
}
