package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profile begins a CPU profile of Fairlead when one is asked for; the returned function waits until it is written. Seconds need
// only be about right: a server that rests adds nothing to a profile.
func (b *bench) profile(ctx context.Context, name string, seconds int) func() error {
	if b.opts.profile == "" || b.kind.name != "fairlead" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() {
		if err := b.fetchProfile(ctx, name, max(5, seconds)); err != nil {
			done <- fmt.Errorf("profile of %s: %w", name, err)
		}
		close(done)
	}()
	return func() error { return <-done }
}

func (b *bench) fetchProfile(ctx context.Context, name string, seconds int) error {
	if err := os.MkdirAll(b.opts.profile, 0o755); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", b.server.admin, seconds), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, data)
	}
	path := filepath.Join(b.opts.profile, strings.ReplaceAll(name, " ", "-")+".pprof")
	progress("  profile: %s", path)
	return os.WriteFile(path, data, 0o644)
}
