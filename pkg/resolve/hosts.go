package resolve

import (
	"net/netip"
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// exportToAnnotation limits who sees a Service, as exportTo does for our kinds.
const exportToAnnotation = "networking.istio.io/exportTo"

// Hosts are the destinations that routes can name. All tables from here to the endpoints are of the urgent lane and read
// nothing outside it, so that an endpoint change overtakes a long pass.
type Hosts struct {
	// Table is keyed by "namespace/hostname".
	Table *table.Derived[*model.Host]
	// ByName finds hosts by name: table.List for an exact one, table.MatchHost with the wildcards that cover it,
	// table.UnderHost for what a wildcard covers.
	ByName *table.Index[*model.Host]
	// ByService finds the host of a Service by the Service's key.
	ByService *table.Index[*model.Host]
	// Status is that of ServiceEntries, by ObjectKey.
	Status *table.Derived[*model.ObjectStatus]

	cfg      Config
	services *table.Index[*model.Service]
	entries  *table.Index[*ServiceEntry]
	clusters *table.Index[*model.Host]
	members  *members
}

func newHosts(e *table.Engine, cfg Config, in *Inputs) *Hosts {
	h := &Hosts{cfg: cfg}
	h.services = table.NewIndex(in.Services, "services by host", func(_ string, s *model.Service) []string {
		return []string{model.Key(s.Namespace, serviceHost(cfg, s.Namespace, s.Name))}
	})
	h.entries = table.NewIndex(in.ServiceEntries, "service entries by host", func(_ string, se *ServiceEntry) []string {
		var keys []string
		for _, host := range se.Spec.Hosts {
			keys = append(keys, model.Key(se.Namespace, plainHost(host)))
		}
		return keys
	})
	h.Table = table.NewDerived(e, "hosts", h.host, []table.Trigger{h.services, h.entries}, table.UrgentStage())
	h.ByName = table.NewIndex(h.Table, "hosts by name", func(_ string, v *model.Host) []string { return table.HostKeys(v.Name) })
	h.ByService = table.NewIndex(h.Table, "hosts by service", func(_ string, v *model.Host) []string {
		if v.Service == "" {
			return nil
		}
		return []string{v.Service}
	})
	h.clusters = table.NewIndex(h.Table, "clusters of hosts", func(_ string, v *model.Host) []string {
		var names []string
		for _, p := range v.Ports {
			names = append(names, model.ClusterID{Namespace: v.Namespace, Host: v.Name, Port: p.Number}.String())
		}
		return names
	})
	h.members = newMembers(e, in)
	h.Status = newServiceEntryStatus(e, in, h)
	return h
}

// host joins the definitions of one host in one namespace: a Service wins, then the oldest ServiceEntry.
func (h *Hosts) host(r *table.Reader, key string) (*model.Host, bool) {
	v, ok := h.define(r, key)
	if ok {
		v.Audience = &model.Audience{AnyOf: []model.Reach{{Namespace: v.Namespace, Host: v.Name, ExportTo: v.ExportTo}}}
	}
	return v, ok
}

func (h *Hosts) define(r *table.Reader, key string) (*model.Host, bool) {
	if s := table.List(r, h.services, key); len(s) > 0 {
		return hostOfService(h.cfg, s[0].Value), true
	}
	var oldest *ServiceEntry
	for _, e := range table.List(r, h.entries, key) {
		if se := e.Value; entryServed(se, nil) && (oldest == nil || se.Older(&oldest.Meta)) {
			oldest = se
		}
	}
	if oldest == nil {
		return nil, false
	}
	_, name := model.SplitKey(key)
	return hostOfEntry(oldest, name)
}

// Lookup finds the host that a name means to the clients or routes of a namespace: its own definition, then one that is
// exported to it, Services before ServiceEntries and older before younger; then the same for the wildcard hosts that cover
// the name, the most specific first.
func (h *Hosts) Lookup(r *table.Reader, fromNamespace, hostname string) (*model.Host, bool) {
	name := plainHost(hostname)
	for {
		if v := bestHost(table.List(r, h.ByName, name), fromNamespace); v != nil {
			return v, true
		}
		parent, ok := wildcardAbove(name)
		if !ok {
			return nil, false
		}
		name = parent
	}
}

// wildcardAbove is the next wider wildcard that covers a name: "*.b.c" for "a.b.c" and for "*.a.b.c".
func wildcardAbove(name string) (string, bool) {
	_, parent, ok := strings.Cut(strings.TrimPrefix(name, "*."), ".")
	if !ok {
		return "", false
	}
	return "*." + parent, true
}

// bestHost picks among the definitions of one name.
func bestHost(list []table.Entry[*model.Host], from string) *model.Host {
	var best *model.Host
	for _, e := range list {
		v := e.Value
		if (v.Namespace == from || visible(v.ExportTo, from)) && (best == nil || hostBefore(v, best, from)) {
			best = v
		}
	}
	return best
}

func hostBefore(a, b *model.Host, from string) bool {
	if own := a.Namespace == from; own != (b.Namespace == from) {
		return own
	}
	if service := a.Service != ""; service != (b.Service != "") {
		return service
	}
	if !a.Created.Equal(b.Created) {
		return a.Created.Before(b.Created)
	}
	return a.Namespace < b.Namespace
}

// nearness is what a Service says of near endpoints (Service, spec.trafficDistribution and spec.internalTrafficPolicy).
func nearness(s *model.Service) model.Nearness {
	switch {
	case s.InternalLocal:
		return model.OnlyNode
	case s.Distribution == "PreferClose" || s.Distribution == "PreferSameZone":
		return model.NearZone
	case s.Distribution == "PreferSameNode":
		return model.NearNode
	}
	return ""
}

// hostOfService is the host of a Service. UDP and SCTP ports are not proxied.
func hostOfService(cfg Config, s *model.Service) *model.Host {
	h := &model.Host{
		Namespace: s.Namespace, Name: serviceHost(cfg, s.Namespace, s.Name), Origin: s.Ref, Created: s.Created,
		Resolution: model.ResolveEDS, Service: s.Key(), Headless: s.Headless, PublishNotReady: s.PublishNotReady,
		SessionAffinity: s.SessionAffinity, Selector: s.Selector, Near: nearness(s),
	}
	if list, ok := s.Annotations[exportToAnnotation]; ok {
		h.ExportTo = exports(strings.Split(list, ","), s.Namespace)
	}
	for _, a := range s.Addresses {
		h.Addresses = append(h.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	if s.Type == "ExternalName" {
		h.Resolution, h.ExternalName, h.External = model.ResolveDNS, plainHost(s.ExternalName), true
	}
	for _, p := range s.Ports {
		if p.Protocol != "TCP" && p.Protocol != "" {
			continue
		}
		port := model.HostPort{Name: p.Name, Number: p.Number, Protocol: portProtocol(p.AppProtocol, p.Name)}
		if port.Protocol == model.ProtoUDP {
			port.Protocol = model.ProtoTCP // the Service says TCP; the name is only a name
		}
		if n, err := strconv.ParseUint(p.Target, 10, 16); err == nil {
			port.Target = uint16(n)
		} else {
			port.TargetName = p.Target
		}
		h.Ports = append(h.Ports, port)
	}
	return h
}
