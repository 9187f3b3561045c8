package issue

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
)

// methods keeps what is registered, to be called by hand.
type methods map[string]func(context.Context, func(any) error) (any, error)

func (m methods) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, d := range desc.Methods {
		m[d.MethodName] = func(ctx context.Context, read func(any) error) (any, error) { return d.Handler(impl, ctx, read, nil) }
	}
}

// A caller has four messages read at a time, and nothing of one who is nobody is read.
func TestReadAfterAdmission(t *testing.T) {
	nobody := errors.New("nobody")
	who := &ca.Caller{Kind: ca.Node, Method: ca.MTLS, ID: td.ID(), Node: ca.NodeRef{Name: "n1", UID: "u1"}}
	r := newRig(t, func(c *Config) {
		c.Authn = authenticator(func(ctx context.Context) (*ca.Caller, error) {
			if ctx.Value(nobody) != nil {
				return nil, nobody
			}
			return who, nil
		})
	})
	all := methods{}
	r.service.Register(all)
	for _, method := range []string{"SignX509", "SignJWT", "CreateCertificate"} {
		reading, release := make(chan struct{}, 10), make(chan struct{})
		call := func(ctx context.Context) error {
			_, err := all[method](ctx, func(any) error {
				reading <- struct{}{}
				<-release
				return errors.New("half a message")
			})
			return err
		}
		done := make(chan error, 10)
		for range maxWorking {
			go func() { done <- call(t.Context()) }()
			<-reading
		}
		if err := call(context.WithValue(t.Context(), nobody, true)); err == nil || len(reading) != 0 {
			t.Errorf("%s: a message of nobody is read: %v", method, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- call(ctx) }()
		cancel()
		if err := <-done; status.Code(err) != codes.ResourceExhausted || len(reading) != 0 {
			t.Errorf("%s: the fifth message is read: %v", method, err)
		}
		close(release)
		for range maxWorking {
			if err := <-done; err == nil || !strings.Contains(err.Error(), "half a message") {
				t.Error(err)
			}
		}
	}
}

type authenticator func(context.Context) (*ca.Caller, error)

func (a authenticator) Authenticate(ctx context.Context) (*ca.Caller, error) { return a(ctx) }

// The port takes larger messages than the authority does.
func TestMessageTooLarge(t *testing.T) {
	r := newRig(t, nil)
	all := methods{}
	r.service.Register(all)
	r.service.cfg.Authn = caller{&ca.Caller{Kind: ca.Workload, Method: ca.TokenJWKS, ID: spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/web"), Pod: &web1.PodRef}}
	call := func(n int) error {
		_, err := all["SignX509"](t.Context(), func(m any) error {
			m.(*cav1.SignX509Request).Certificates = []*cav1.X509Request{{Csr: make([]byte, n)}}
			return nil
		})
		return err
	}
	if err := call(MaxMessage); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("more than %d bytes: %v", MaxMessage, err)
	}
	if got := r.log.take(t); got[len(got)-1]["reason"] != string(BatchTooLarge) || got[len(got)-1]["caller"] == "" {
		t.Errorf("the audit says %v", got)
	}
	if err := call(MaxMessage - 64); err != nil { // refused one by one
		t.Errorf("%d bytes: %v", MaxMessage-64, err)
	}
}
