package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

// summary is what load prints.
type summary struct {
	Requests int      `json:"requests"`
	Failures int      `json:"failures"`
	Errors   []string `json:"errors"` // the first few, with their time
	// How many different certificates were seen, and the authorities (key IDs in hex) in the order in which they signed.
	OwnSVIDs    int      `json:"ownSVIDs"`
	ServerSVIDs int      `json:"serverSVIDs"`
	Authorities []string `json:"authorities"`
}

// patience is for a machine that stands still for a while: what is refused is so at once.
const patience = 30 * time.Second

// load calls a server that must have a SPIFFE ID, each time with a new handshake, until its input ends. It prints "calling" after
// the first answer, and a summary at the end.
func load(socket, url, server string) error {
	id, err := spiffeid.FromString(server)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	source, err := newSource(ctx, socket)
	if err != nil {
		return err
	}
	defer source.Close()
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(id))
	own, theirs := map[string]bool{}, map[string]bool{}
	var s summary
	for ctx.Err() == nil {
		if svid, err := source.GetX509SVID(); err == nil {
			leaf := svid.Certificates[0]
			own[leaf.SerialNumber.String()] = true
			if a := hex.EncodeToString(leaf.AuthorityKeyId); len(s.Authorities) == 0 || s.Authorities[len(s.Authorities)-1] != a {
				s.Authorities = append(s.Authorities, a)
			}
		}
		_, state, err := ask(context.Background(), patience, config, url) // the last one is not cut off
		s.Requests++
		if err == nil {
			theirs[state.PeerCertificates[0].SerialNumber.String()] = true
			if s.Requests-s.Failures == 1 {
				fmt.Println("calling")
			}
		} else if s.Failures++; len(s.Errors) < 5 {
			s.Errors = append(s.Errors, time.Now().UTC().Format(time.TimeOnly)+" "+err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.OwnSVIDs, s.ServerSVIDs = len(own), len(theirs)
	return json.NewEncoder(os.Stdout).Encode(s)
}
