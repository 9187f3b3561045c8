package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fairlead.io/fairlead/pkg/process"
)

// record takes down what Fairlead says to one client that connects, and to that client after a changed endpoint.
func (b *bench) record(ctx context.Context) (s *script, err error) {
	r, err := newRecorder(b.server.xds)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	p := profilesOf(b.kind)[0]
	c, err := connect(ctx, r.address, 1, p)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.ready(ctx); err != nil {
		return nil, err
	}
	if err := b.quiet(ctx, c, b.kind.quiet, quietTimeout); err != nil {
		return nil, err
	}
	s = &script{Cold: r.heard()}
	b.sequence++
	change, err := b.next(endpointKind, 0, b.sequence)
	if err != nil {
		return nil, err
	}
	watch := c.watch(endpointKind, change.mark)
	defer watch.Stop()
	if err := change.write(ctx); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if _, err := watch.Wait(bounded); err != nil {
		return nil, err
	}
	for _, m := range r.heard()[len(s.Cold):] {
		if bytes.Contains(m.Bytes, []byte(change.mark)) {
			s.Push, s.Mark = m.Bytes, change.mark
			progress("  recorded %d responses of a cold client, and %d bytes of an endpoint change", len(s.Cold), len(m.Bytes))
			return s, nil
		}
	}
	return nil, fmt.Errorf("record: no response has %s", change.mark)
}

// measureFloor sends the same bytes from a server that only sends bytes.
func (p *parts) measureFloor(ctx context.Context, o options, s *script) (out Figures, err error) {
	out.Changes = map[string]Change{}
	progress("floor: the same bytes, encoded before")
	dir, err := os.MkdirTemp(p.dir, "floor-")
	if err != nil {
		return out, err
	}
	path := filepath.Join(dir, "script")
	if err := s.save(path); err != nil {
		return out, err
	}
	program, err := os.Executable()
	if err != nil {
		return out, err
	}
	// The clients are those of Fairlead: they get what Fairlead would say.
	kind := fairleadKind()
	clients := profilesOf(kind)[0]
	kind.name, kind.start = "floor", startFloor
	b := &bench{opts: o, kind: kind, out: &out}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(ctx, dir, program, path); err != nil {
		return out, err
	}
	b.next = func(string, int, int) (change, error) { return change{s.Mark, b.server.push}, nil }
	out.ReadySeconds, out.ReadyCPU = 0, 0 // it has nothing to get ready
	err = b.fleet(ctx, clients, []string{endpointKind}, true)
	return out, err
}

func startFloor(dir, binary, script string) (*server, error) {
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	s := &server{name: "floor", xds: addresses[0], admin: "http://" + addresses[1], ready: "/ready"}
	s.process, err = process.Start(s.name, dir, binary, "floor", script, addresses[0], addresses[1])
	return s, err
}

// push makes the floor send its bytes to every stream.
func (s *server) push(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.admin+"/push", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}
