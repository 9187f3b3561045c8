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
	return recordProfile(ctx, b.server, b.opts.profile, name, max(5, seconds))
}

// recordProfile begins a CPU profile of a server, to be left in a folder.
func recordProfile(ctx context.Context, s *server, dir, name string, seconds int) func() error {
	done := make(chan error, 1)
	go func() {
		if err := fetchProfile(ctx, s, dir, name, seconds); err != nil {
			done <- fmt.Errorf("profile of %s: %w", name, err)
		}
		close(done)
	}()
	return func() error { return <-done }
}

func fetchProfile(ctx context.Context, s *server, dir, name string, seconds int) error {
	return fetch(ctx, s, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds), dir, name)
}

// heapProfile leaves in the folder what the server's memory is held by after a collection, when profiles are asked for.
func (b *csrBench) heapProfile(ctx context.Context, s *server, name string) error {
	if b.opts.profile == "" {
		return nil
	}
	return fetch(ctx, s, "/debug/pprof/heap?gc=1", b.opts.profile, name+" heap")
}

func fetch(ctx context.Context, s *server, what, dir, name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+what, nil)
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
	path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".pprof")
	progress("  profile: %s", path)
	return os.WriteFile(path, data, 0o644)
}
