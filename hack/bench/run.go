package main

import (
	"context"
	"errors"
	"os"
)

// measure is one run: Fairlead, the floor that is made of what it said, and istiod.
func (p *parts) measure(ctx context.Context, o options) (out Run, err error) {
	if o.has("fairlead") {
		var s *script
		if out.Fairlead, s, err = p.measureServer(ctx, o, fairleadKind(), p.fairlead, changeKinds(), false); err != nil {
			return out, err
		}
		if out.Floor, err = p.measureFloor(ctx, o, s); err != nil {
			return out, err
		}
	}
	if o.has("istiod") {
		out.Istiod, _, err = p.measureServer(ctx, o, istiodKind(), p.istiod, changeKinds(), false)
	}
	return out, err
}

// measurePods is cold and endpoints only, in a mesh with a Pod behind each endpoint.
func (p *parts) measurePods(ctx context.Context, o options) (out *Run, err error) {
	out = &Run{}
	progress("with %d Pods", o.size*perService)
	kinds := []string{endpointKind}
	if o.has("fairlead") {
		if out.Fairlead, _, err = p.measureServer(ctx, o, fairleadKind(), p.fairlead, kinds, true); err != nil {
			return nil, err
		}
	}
	if o.has("istiod") {
		out.Istiod, _, err = p.measureServer(ctx, o, istiodKind(), p.istiod, kinds, true)
	}
	return out, err
}

// measureServer measures one server on a fresh mesh; of Fairlead, it also takes down what it says.
func (p *parts) measureServer(ctx context.Context, o options, kind kindOfServer, binary string, kinds []string, pods bool) (out Figures, s *script, err error) {
	out.Changes = map[string]Change{}
	progress("%s: a kube-apiserver with %d services", kind.name, o.size)
	m, err := newMesh(ctx, p.crds, o.size, pods)
	if err != nil {
		return out, nil, err
	}
	defer func() { err = errors.Join(err, m.api.Stop()) }()
	class, gateway := gatewayObjects(kind.class, kind.controller)
	if err := errors.Join(m.create(ctx, classGVR, class), m.create(ctx, gatewayGVR, gateway)); err != nil {
		return out, nil, err
	}
	dir, err := os.MkdirTemp(p.dir, kind.name+"-")
	if err != nil {
		return out, nil, err
	}
	b := &bench{opts: o, next: m.next, kind: kind, out: &out}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(ctx, dir, binary, m.kubeconfig); err != nil {
		return out, nil, err
	}
	for i, fleet := range profilesOf(kind) {
		if err := b.fleet(ctx, fleet, kinds, i == 0); err != nil {
			return out, nil, err
		}
	}
	if kind.name == "fairlead" {
		s, err = b.record(ctx)
	}
	return out, s, err
}

// fleet connects the clients of a profile and makes the changes that they can see. Only the first profile's connecting counts.
func (b *bench) fleet(ctx context.Context, p profile, kinds []string, first bool) error {
	var seen []string
	for _, kind := range kinds {
		if p.kinds[kind] != "" {
			seen = append(seen, kind)
		}
	}
	if len(seen) == 0 {
		return nil
	}
	progress("  %d clients: %s", b.opts.clients, p.name)
	profiled := b.profile(ctx, "cold", b.opts.size*b.opts.clients/100_000)
	c, cold, err := b.cold(ctx, p)
	if c != nil {
		defer c.Close()
	}
	if err := errors.Join(err, profiled()); err != nil {
		return err
	}
	if first {
		b.out.Cold = cold
	}
	for _, kind := range seen {
		profiled := b.profile(ctx, kind, b.opts.changes/4)
		change, err := b.changes(ctx, c, kind)
		if err := errors.Join(err, profiled()); err != nil {
			return err
		}
		b.out.Changes[kind] = change
	}
	_, b.out.PeakMB, err = memory(b.server.pid())
	return err
}
