package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// identity runs what needs an SVID of the Workload API at a socket ("unix:///spiffe/api.sock").
func identity(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: probe svid SOCKET SECONDS | tls-serve SOCKET :PORT [CALLER…] | tls-get SOCKET URL SECONDS | tls-load SOCKET URL SERVER")
	}
	switch args[0] {
	case "tls-serve":
		return serveTLS(args[1], args[2], args[3:])
	case "tls-load":
		return load(args[1], args[2], args[len(args)-1])
	}
	patience, err := strconv.Atoi(args[len(args)-1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(patience)*time.Second)
	defer cancel()
	if args[0] == "svid" {
		return printSVID(ctx, args[1])
	}
	source, err := newSource(ctx, args[1])
	if err != nil {
		return err
	}
	defer source.Close()
	return getTLS(ctx, source, args[2])
}

func newSource(ctx context.Context, socket string) (*workloadapi.X509Source, error) {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(socket)))
	if err != nil {
		return nil, fmt.Errorf("get SVID: %w", err)
	}
	return source, nil
}

// printSVID prints the SPIFFE ID, the serial number, and the end of the leaf. A refusal is final, since the agent has waited.
func printSVID(ctx context.Context, socket string) error {
	for {
		svid, err := workloadapi.FetchX509SVID(ctx, workloadapi.WithAddr(socket))
		if err == nil {
			leaf := svid.Certificates[0]
			fmt.Printf("%s %x %s\n", svid.ID, leaf.SerialNumber, leaf.NotAfter.UTC().Format(time.RFC3339))
			return nil
		}
		if ctx.Err() != nil || status.Code(err) == codes.PermissionDenied {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// serveTLS answers with the SPIFFE ID of the caller, whom mTLS has proven. With callers, only they may call.
func serveTLS(socket, address string, callers []string) error {
	authorize := tlsconfig.AuthorizeAny()
	var allowed []spiffeid.ID
	for _, c := range callers {
		id, err := spiffeid.FromString(c)
		if err != nil {
			return err
		}
		allowed = append(allowed, id)
	}
	if len(allowed) > 0 {
		authorize = tlsconfig.AuthorizeOneOf(allowed...)
	}
	source, err := newSource(context.Background(), socket)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr: address, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: tlsconfig.MTLSServerConfig(source, source, authorize),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := peer(r.TLS)
			fmt.Fprintln(w, id, err)
		}),
	}
	return server.ListenAndServeTLS("", "")
}

func peer(state *tls.ConnectionState) (spiffeid.ID, error) {
	certs := []*x509.Certificate(state.PeerCertificates)
	if len(certs) == 0 || len(certs[0].URIs) != 1 {
		return spiffeid.ID{}, errors.New("the peer has no SPIFFE ID")
	}
	return spiffeid.FromURI(certs[0].URIs[0])
}

// getTLS prints "<server's SPIFFE ID> <what it says>".
func getTLS(ctx context.Context, source *workloadapi.X509Source, url string) error {
	for {
		err := getTLSOnce(ctx, source, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func getTLSOnce(ctx context.Context, source *workloadapi.X509Source, url string) error {
	answer, state, err := ask(ctx, 2*time.Second, tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeAny()), url)
	if err != nil {
		return err
	}
	id, err := peer(state)
	if err == nil {
		fmt.Print(id, " ", answer)
	}
	return err
}

// ask makes one request on a connection of its own.
func ask(ctx context.Context, patience time.Duration, config *tls.Config, url string) (answer string, state *tls.ConnectionState, err error) {
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", nil, err
	}
	res, err := (&http.Client{Timeout: patience, Transport: transport}).Do(req)
	if err != nil {
		return "", nil, err
	}
	defer res.Body.Close()
	answer, err = read(res)
	return answer, res.TLS, err
}
