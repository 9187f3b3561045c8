package main

import (
	"context"
	"errors"
	"os"
	"slices"
)

// measure is one run: of the mesh, and of certificates.
func (p *parts) measure(ctx context.Context, o options) (out Run, err error) {
	if slices.Contains(o.parts, "mesh") {
		if out, err = p.measureMesh(ctx, o); err != nil {
			return out, err
		}
	}
	if slices.Contains(o.parts, "csr") {
		out.CSR, err = p.measureCSRs(ctx, o)
	}
	return out, err
}

// measureMesh is Fairlead, the floor that is made of what it said, and istiod.
func (p *parts) measureMesh(ctx context.Context, o options) (out Run, err error) {
	if o.has("fairlead") {
		var more extras
		if out.Fairlead, more, err = p.measureServer(ctx, o, fairleadKind(), p.fairlead, changeKinds(), false); err != nil {
			return out, err
		}
		out.Scoped = more.scoped
		if out.Floor, err = p.measureFloor(ctx, o, more.script); err != nil {
			return out, err
		}
	}
	if o.has("istiod") {
		out.Istiod, _, err = p.measureServer(ctx, o, istiodKind(), p.istiod, changeKinds(), false)
	}
	if err != nil && ctx.Err() == nil {
		// An overloaded machine is enough for it: what was measured is worth more than to begin anew.
		progress("  istiod was not measured to the end: %v", err)
		out.IstiodFailed, err = err.Error(), nil
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

// extras are what is measured of Fairlead alone: what it says to a client, and clients that are scoped.
type extras struct {
	script *script
	scoped *Figures // nil when the clients were not scoped
}

// measureServer measures one server on a fresh mesh.
func (p *parts) measureServer(ctx context.Context, o options, kind kindOfServer, binary string, kinds []string, pods bool) (out Figures, more extras, err error) {
	out.Changes = map[string]Change{}
	progress("%s: a kube-apiserver with %d services", kind.name, o.size)
	m, err := newMesh(ctx, p.crds, o.size, pods)
	if err != nil {
		return out, more, err
	}
	defer func() { err = errors.Join(err, m.api.Stop()) }()
	class, gateway := gatewayObjects(kind.class, kind.controller)
	if err := errors.Join(m.create(ctx, classGVR, class), m.create(ctx, gatewayGVR, gateway)); err != nil {
		return out, more, err
	}
	dir, err := os.MkdirTemp(p.dir, kind.name+"-")
	if err != nil {
		return out, more, err
	}
	b := &bench{opts: o, next: m.next, kind: kind, out: &out}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(ctx, dir, binary, m.kubeconfig); err != nil {
		return out, more, err
	}
	for i, fleet := range profilesOf(kind) {
		if err := b.fleet(ctx, fleet, kinds, i == 0); err != nil {
			return out, more, err
		}
	}
	if kind.name != "fairlead" || pods {
		return out, more, nil
	}
	if more.script, err = b.record(ctx); err != nil {
		return out, more, err
	}
	more.scoped, err = b.scoped(ctx, m)
	return out, more, err
}

// scoped limits what the clients see, and connects them once more.
func (b *bench) scoped(ctx context.Context, m *mesh) (*Figures, error) {
	if err := errors.Join(m.scope(ctx, b.opts.clients), b.quiet(ctx, nil, b.kind.quiet, quietTimeout)); err != nil {
		return nil, err
	}
	progress("  %d clients that see %d services each", b.opts.clients, m.services*2/namespaces)
	c, cold, err := b.cold(ctx, profilesOf(b.kind)[0])
	if c != nil {
		c.Close()
	}
	if err != nil {
		return nil, err
	}
	if whole := b.out.Cold.BytesPerClient; cold.BytesPerClient > whole/2 {
		progress("  no figures: the clients got %.0f of %.0f kB although Sidecars limit what they see", cold.BytesPerClient/1000, whole/1000)
		return nil, nil
	}
	return &Figures{Cold: cold}, nil
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
	before, err := cpuTime(b.server.pid())
	if err != nil {
		return err
	}
	profiled := b.profile(ctx, "cold", b.opts.size*b.opts.clients/100_000)
	c, cold, err := b.cold(ctx, p)
	if c != nil {
		defer c.Close()
	}
	if err := errors.Join(err, profiled()); err != nil {
		return err
	}
	if cold.RestCPU, err = b.rest(ctx, c, before); err != nil {
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
