package main

import (
	"context"
	"fmt"
)

// The kinds of change, in the order in which they are measured: a Service is deleted that was made before.
const (
	endpointKind    = "endpoint"
	virtualKind     = "VirtualService"
	destinationKind = "DestinationRule"
	newServiceKind  = "new Service"
	goneServiceKind = "deleted Service"
	httpRouteKind   = "HTTPRoute"
	secretKind      = "Secret"
)

func changeKinds() []string {
	return []string{endpointKind, virtualKind, destinationKind, newServiceKind, goneServiceKind, httpRouteKind, secretKind}
}

// change is one edit of the mesh, and what it puts into the response that carries it.
type change struct {
	mark  string // in the name or the bytes of a resource; for a deleted Service, in the name of a removed one
	write func(ctx context.Context) error
}

// next makes the n-th change of a kind. sequence is a number that no other change of this mesh has.
func (m *mesh) next(kind string, n, sequence int) (change, error) {
	mark := fmt.Sprintf("mark-%d-x", sequence)
	i := n*37 + 3
	switch kind {
	case endpointKind:
		i %= m.services
		mark = fmt.Sprintf("10.251.%d.%d", 100+sequence/100%150, 100+sequence%100) // of one length: none is part of another
		return change{mark, func(ctx context.Context) error { return m.replace(ctx, sliceGVR, m.slice(i, mark)) }}, nil
	case virtualKind:
		i %= m.virtuals()
		return change{mark, func(ctx context.Context) error { return m.replace(ctx, virtualGVR, virtualService(i, mark)) }}, nil
	case destinationKind:
		i = m.ruled(i % m.rules())
		return change{mark, func(ctx context.Context) error { return m.replace(ctx, destinationGVR, destinationRule(i, mark)) }}, nil
	case httpRouteKind:
		i %= m.routes()
		return change{mark, func(ctx context.Context) error { return m.replace(ctx, routeGVR, httpRoute(i, mark)) }}, nil
	case newServiceKind:
		name := comesAndGoes(n)
		endpoints := list{object{"addresses": list{"10.252.0.1"}, "conditions": object{"ready": true}}}
		return change{name + "." + newHome, func(ctx context.Context) error {
			return m.createService(ctx, service(newHome, name, ""), endpointSlice(newHome, name, endpoints))
		}}, nil
	case goneServiceKind:
		name := comesAndGoes(n)
		return change{name + "." + newHome, func(ctx context.Context) error {
			if err := m.remove(ctx, serviceGVR, newHome, name); err != nil {
				return err
			}
			return m.remove(ctx, sliceGVR, newHome, name+"-1") // nobody else collects it here
		}}, nil
	case secretKind:
		secret, line, err := newCertificate(sequence)
		return change{line, func(ctx context.Context) error { return m.replace(ctx, secretGVR, secret) }}, err
	}
	return change{}, fmt.Errorf("no change of kind %q", kind)
}

func comesAndGoes(n int) string { return fmt.Sprintf("new-%d", n) }
