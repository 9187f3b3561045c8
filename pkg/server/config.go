package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/status"
)

// Source is a reader of the outside world (pkg/source/files, pkg/source/kube). Run hands changes to sink until ctx ends.
// One that also has Want(position uint64) is told what streams wait for.
type Source interface {
	Run(ctx context.Context, sink source.Sink) error
}

// Config is a whole server.
type Config struct {
	// Mesh is what an operator sets once; Source where the objects come from.
	Mesh   resolve.Config
	Source Source
	// XDS is where delta ADS is served, Admin the admin interface, in the forms of ParseAddress; both are plaintext.
	XDS, Admin string
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
	// Compat also writes to the kinds of networking.istio.io.
	Compat bool
	// Lease elects the replica that writes; nil when there is only this one.
	Lease *status.Lease
}

// check completes the configuration; the error names every field that is wrong.
func (c *Config) check() error {
	var errs []error
	if c.Source == nil {
		errs = append(errs, errors.New("source: nothing is read; name a folder or a cluster"))
	}
	if _, err := ParseAddress(c.XDS); err != nil {
		errs = append(errs, fmt.Errorf("xds: %w", err))
	}
	if _, err := ParseAddress(c.Admin); err != nil {
		errs = append(errs, fmt.Errorf("admin: %w", err))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Drain == 0 {
		c.Drain = 5 * time.Second
	}
	if c.Identifier == "" {
		c.Identifier = "fairlead/" + c.Version
	}
	return errors.Join(errs...)
}
