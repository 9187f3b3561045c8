package policy

import (
	"net/netip"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// services finds what stands behind Services.
type services struct {
	all    *table.Source[*model.Service]
	byName *table.Index[*model.Service] // by name, by "namespace/", and all by ""
	slices *table.Index[*model.EndpointSlice]
}

func newServices(in Inputs) *services {
	return &services{
		all: in.Services,
		byName: table.NewIndex(in.Services, "services of policy", func(_ string, s *model.Service) []string {
			return []string{s.Name, s.Namespace + "/", ""}
		}),
		slices: table.NewIndex(in.EndpointSlices, "endpoint slices of policy", func(_ string, s *model.EndpointSlice) []string {
			if s.Service == "" {
				return nil
			}
			return []string{model.Key(s.Namespace, s.Service)}
		}),
	}
}

// behind gives the pods that the Services select, and the addresses of those that select none.
func (s *services) behind(r *table.Reader, of *Service) (out []Peer) {
	for _, svc := range s.list(r, of) {
		if !meets(svc.Labels, of.Labels) || svc.Type == "ExternalName" {
			continue
		}
		if len(svc.Selector) > 0 {
			sel := &Selector{Namespaces: []string{svc.Namespace}}
			for k, v := range svc.Selector {
				sel.Labels = append(sel.Labels, Requirement{Key: k, Operator: In, Values: []string{v}})
			}
			sortRequirements(sel.Labels)
			out = append(out, Peer{Pods: sel})
			continue
		}
		for _, slice := range table.List(r, s.slices, svc.Key()) {
			for i := range slice.Value.Endpoints {
				for _, a := range slice.Value.Endpoints[i].Addresses {
					out = append(out, Peer{Range: &Range{CIDR: netip.PrefixFrom(a, a.BitLen()), World: true}})
				}
			}
		}
	}
	return out
}

func (s *services) list(r *table.Reader, of *Service) (out []*model.Service) {
	if of.Name != "" && of.Namespace != "" {
		if svc, ok := table.Get(r, s.all, model.Key(of.Namespace, of.Name)); ok {
			out = append(out, svc)
		}
		return out
	}
	key := of.Name
	if key == "" && of.Namespace != "" {
		key = of.Namespace + "/"
	}
	for _, e := range table.List(r, s.byName, key) {
		out = append(out, e.Value)
	}
	return out
}
