// Package spiffe_test has processes of pods that use the SPIFFE Workload API as a workload does: go-spiffe, a real socket, and the
// kernel's word about who calls.
package spiffe_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/pkg/node/attest/podtest"
)

func TestMain(m *testing.M) {
	podtest.Main(map[string]func(*bufio.Scanner, []string) error{
		"watch": watch, "serve": serve, "call": call, "token": token, "fetch": fetch,
	})
	goleak.VerifyTestMain(m)
}

const patience = 30 * time.Second

func source(socket string) (*workloadapi.X509Source, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+socket)))
}

// watch says identity, serial number and roots, whenever they are others.
func watch(in *bufio.Scanner, args []string) error {
	s, err := source(args[0])
	if err != nil {
		return err
	}
	defer s.Close()
	go func() {
		for {
			if svid, err := s.GetX509SVID(); err == nil {
				b, err := s.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
				if err == nil {
					fmt.Println(svid.ID, svid.Certificates[0].SerialNumber, len(b.X509Authorities()))
				}
			}
			<-s.Updated()
		}
	}()
	in.Scan()
	return nil
}

// serve answers over mTLS, and says who called.
func serve(in *bufio.Scanner, args []string) error {
	s, err := source(args[0])
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := net.Listen("unix", args[1])
	if err != nil {
		return err
	}
	tl := tls.NewListener(l, tlsconfig.MTLSServerConfig(s, s, tlsconfig.AuthorizeMemberOf(spiffeid.RequireTrustDomainFromString(args[2]))))
	go func() {
		for {
			c, err := tl.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if c.(*tls.Conn).Handshake() == nil {
					if id, err := spiffeid.FromURI(c.(*tls.Conn).ConnectionState().PeerCertificates[0].URIs[0]); err == nil {
						_, _ = io.WriteString(c, id.String())
					}
				}
			}()
		}
	}()
	fmt.Println("listening")
	in.Scan()
	return nil
}

// call calls over mTLS. At a line "more" it says so when a few more calls have succeeded; at another it ends, and says how often it
// has called, and as whom it was known at last.
func call(in *bufio.Scanner, args []string) error {
	s, err := source(args[0])
	if err != nil {
		return err
	}
	defer s.Close()
	server, err := spiffeid.FromString(args[2])
	if err != nil {
		return err
	}
	lines := make(chan string)
	go func() {
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	fmt.Println("calling")
	more := -1
	for n := 1; ; n++ {
		got, err := ask(args[1], tlsconfig.MTLSClientConfig(s, s, tlsconfig.AuthorizeID(server)))
		if err != nil {
			return fmt.Errorf("call %d: %w", n, err)
		}
		if n == more {
			fmt.Println("more")
		}
		select {
		case line := <-lines:
			if line != "more" {
				fmt.Println(n, got)
				return nil
			}
			more = n + 3
		default:
		}
	}
}

func ask(socket string, c *tls.Config) (string, error) {
	raw, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(tls.Client(raw, c))
	if err != nil || len(b) == 0 {
		return "", errors.Join(errors.New("no answer"), err)
	}
	return string(b), nil
}

func client(socket string) (*workloadapi.Client, context.Context, func(), error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c, err := workloadapi.New(ctx, workloadapi.WithAddr("unix://"+socket))
	return c, ctx, cancel, err
}

// token has a token made and validated.
func token(_ *bufio.Scanner, args []string) error {
	c, ctx, cancel, err := client(args[0])
	if err != nil {
		return err
	}
	defer cancel()
	defer c.Close()
	svid, err := c.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "db"})
	if err != nil {
		return err
	}
	got, err := c.ValidateJWTSVID(ctx, svid.Marshal(), "db")
	if err != nil {
		return err
	}
	fmt.Println(got.ID)
	return nil
}

// fetch says what a first call is answered.
func fetch(_ *bufio.Scanner, args []string) error {
	c, ctx, cancel, err := client(args[0])
	if err != nil {
		return err
	}
	defer cancel()
	defer c.Close()
	svid, err := c.FetchX509SVID(ctx)
	if err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Println(svid.ID)
	return nil
}
