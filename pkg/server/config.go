package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/status"
)

// Source is a reader of the outside world (pkg/source/files, pkg/source/kube). Run hands changes to sink until ctx ends.
// One that also has Want(position uint64) bool is told what streams wait for.
type Source interface {
	Run(ctx context.Context, sink source.Sink) error
}

// Config is a whole server.
type Config struct {
	// Mesh is what an operator sets once; Source where the objects come from.
	Mesh   resolve.Config
	Source Source
	// XDS is where delta ADS is served in plaintext, without the authority; empty is nowhere. Admin is the admin interface. Both
	// are in the forms of ParseAddress.
	XDS, Admin string
	// Observe is where flows are shown, all of them to whoever can connect, in the forms of ParseAddress; empty is nowhere. By TLS they
	// are shown to who has the right.
	Observe string
	// Identity serves xDS by TLS, and makes this server the certificate authority; nil is neither. It or XDS is required.
	Identity *Identity
	// Replica tells this replica, and this run of it, from all others; default is made of the host's name and the process.
	Replica string
	// Peers are the addresses of other replicas: of their TLS ports with an Identity, and else where they serve XDS, in the forms
	// of ParseAddress. This replica's own may be among them. Those that Conditions.Lease finds come to them.
	Peers []string
	// Grace is how long a node or a replica that has gone is waited for, and how long this one waits to be known to others
	// before it serves by TLS; default 30 s.
	Grace time.Duration
	// Version is the build's, Identifier names this replica to its clients; default "fairlead/<version>".
	Version, Identifier string
	// Drain is how long streams may take to end at shutdown; default 5 s.
	Drain time.Duration
	// Conditions says where conditions are written; nil where there is no API server (files mode).
	Conditions *Conditions
	// Why keeps for each row of a table when and because of what it was last made (about 100 bytes a row).
	Why bool
	Log *slog.Logger
}

// Conditions is an API server whose objects have their status written.
type Conditions struct {
	REST *rest.Config
	// Compat also writes to the kinds of networking.istio.io and security.istio.io, Cilium to those of cilium.io.
	Compat, Cilium bool
	// Lease elects the replica that writes, and replicas find one another by Leases in its namespace; nil when there is
	// only this one.
	Lease *status.Lease
}

// check completes the configuration; the error names every field that is wrong.
func (c *Config) check() error {
	var errs []error
	if c.Source == nil {
		errs = append(errs, errors.New("source: nothing is read; name a folder or a cluster"))
	}
	if c.XDS == "" && c.Identity == nil {
		errs = append(errs, errors.New("xds: nothing is served; give an address for plaintext, or an identity"))
	}
	if _, err := ParseAddress(c.XDS); err != nil && c.XDS != "" {
		errs = append(errs, fmt.Errorf("xds: %w", err))
	}
	if i := c.Identity; i != nil {
		if _, err := ParseRemote(i.Address); err != nil {
			errs = append(errs, fmt.Errorf("identity: %w", err))
		}
		if i.Store == nil {
			errs = append(errs, errors.New("identity: there is no store for the authority"))
		}
	}
	if _, err := ParseAddress(c.Admin); err != nil {
		errs = append(errs, fmt.Errorf("admin: %w", err))
	}
	if _, err := ParseAddress(c.Observe); err != nil && c.Observe != "" {
		errs = append(errs, fmt.Errorf("observe: %w", err))
	}
	for _, p := range c.Peers {
		if err := c.checkPeer(p); err != nil {
			errs = append(errs, fmt.Errorf("peers: %w", err))
		}
	}
	if c.Replica == "" {
		host, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("name this replica: %w", err))
		}
		c.Replica = fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:6]))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Grace == 0 {
		c.Grace = 30 * time.Second
	}
	if c.Drain == 0 {
		c.Drain = 5 * time.Second
	}
	if c.Identifier == "" {
		c.Identifier = "fairlead/" + c.Version
	}
	return errors.Join(errs...)
}

// checkPeer refuses an address of another replica that must not be dialled: without TLS it stays on this machine.
func (c *Config) checkPeer(address string) error {
	parse := ParseAddress
	if c.Identity != nil {
		parse = ParseRemote
	}
	_, err := parse(address)
	return err
}
