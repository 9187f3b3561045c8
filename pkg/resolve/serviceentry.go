package resolve

import (
	"net/netip"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// hostOfEntry is one host of a ServiceEntry that is served.
func hostOfEntry(se *ServiceEntry, name string) (*model.Host, bool) {
	i := hostIndex(&se.Spec, name)
	if i < 0 || !entryHostServed(se, i, nil) {
		return nil, false
	}
	h := &model.Host{
		Namespace: se.Namespace, Name: name, Origin: se.Ref, Created: se.Created,
		External:        se.Spec.Location != v1alpha1.LocationMeshInternal,
		ExportTo:        exports(se.Spec.ExportTo, se.Namespace),
		SubjectAltNames: se.Spec.SubjectAltNames,
		Resolution:      entryResolution(&se.Spec),
		Addresses:       entryAddresses(&se.Spec, nil),
		Ports:           entryPorts(&se.Spec, nil),
	}
	if h.Resolution == model.ResolveNone {
		return h, true
	}
	if s := se.Spec.WorkloadSelector; s != nil {
		h.Selector = s.Labels
		return h, true
	}
	h.Inline = entryEndpoints(&se.Spec, nil)
	if len(se.Spec.Endpoints) == 0 && h.Resolution != model.ResolveEDS {
		h.Inline = []model.WorkloadEndpoint{{Address: name}}
	}
	return h, true
}

func hostIndex(s *v1alpha1.ServiceEntrySpec, name string) int {
	for i, h := range s.Hosts {
		if plainHost(h) == name {
			return i
		}
	}
	return -1
}

func entryResolution(s *v1alpha1.ServiceEntrySpec) model.Resolution {
	switch s.Resolution {
	case v1alpha1.ResolutionStatic:
		return model.ResolveEDS
	case v1alpha1.ResolutionDNS:
		return model.ResolveDNS
	case v1alpha1.ResolutionDNSRoundRobin:
		return model.ResolveDNSRoundRobin
	}
	return model.ResolveNone
}

// entryServed tells whether a ServiceEntry as a whole can be obeyed. What its schema refuses is refused here too: an API
// server with other CRDs may have let it in.
func entryServed(se *ServiceEntry, n *notes) bool {
	s, ok := &se.Spec, !broken(&se.Meta)
	no := func(path, format string, args ...any) {
		n.refuse(reasonInvalid, path, format, args...)
		ok = false
	}
	switch s.Resolution {
	case "", v1alpha1.ResolutionNone, v1alpha1.ResolutionStatic, v1alpha1.ResolutionDNS, v1alpha1.ResolutionDNSRoundRobin:
	case v1alpha1.ResolutionDynamicDNS:
		n.refuse(reasonUnsupported, "spec.resolution", "DYNAMIC_DNS is not supported; name the hosts and use DNS, or use NONE")
		ok = false
	default:
		no("spec.resolution", "%q is not one of NONE, STATIC, DNS, DNS_ROUND_ROBIN", s.Resolution)
	}
	none := entryResolution(s) == model.ResolveNone
	if s.WorkloadSelector != nil && len(s.Endpoints) > 0 {
		no("spec.workloadSelector", "endpoints and workloadSelector exclude each other; keep one")
	}
	if s.WorkloadSelector != nil && len(s.WorkloadSelector.Labels) == 0 {
		no("spec.workloadSelector.labels", "a selector without labels selects nothing; name at least one label")
	}
	if none && len(s.Endpoints) > 0 {
		no("spec.endpoints", "resolution NONE forwards to the address that the client dialled; remove the endpoints or use STATIC or DNS")
	}
	if s.Resolution == v1alpha1.ResolutionDNSRoundRobin && len(s.Endpoints) > 1 {
		no("spec.endpoints", "resolution DNS_ROUND_ROBIN resolves one name; keep one endpoint or use DNS")
	}
	if none && s.WorkloadSelector != nil {
		n.warn(reasonUnsupported, "spec.workloadSelector", "resolution NONE has no endpoints to select; use STATIC")
	}
	return ok
}

// entryHostServed tells whether one host of a ServiceEntry can be obeyed.
func entryHostServed(se *ServiceEntry, i int, n *notes) bool {
	s, name, path := &se.Spec, plainHost(se.Spec.Hosts[i]), indexed("spec.hosts", i)
	if name == "*" || name == "" {
		n.refuse(reasonInvalid, path, "%q names no host; write a name or a wildcard such as *.example.com", s.Hosts[i])
		return false
	}
	wild := strings.HasPrefix(name, "*")
	if wild && !strings.HasPrefix(name, "*.") {
		n.refuse(reasonInvalid, path, "the wildcard of %q must be a whole label, as in *.example.com", s.Hosts[i])
		return false
	}
	if !isHostName(strings.TrimPrefix(name, "*.")) {
		n.refuse(reasonInvalid, path, "%q is no host name", s.Hosts[i])
		return false
	}
	dns := entryResolution(s) == model.ResolveDNS || entryResolution(s) == model.ResolveDNSRoundRobin
	if wild && dns && len(s.Endpoints) == 0 && s.WorkloadSelector == nil {
		n.refuse(reasonInvalid, path, "%q cannot be resolved; use resolution NONE, or list endpoints", s.Hosts[i])
		return false
	}
	return true
}

// entryAddresses are the virtual addresses. Those that do not parse are left out.
func entryAddresses(s *v1alpha1.ServiceEntrySpec, n *notes) []netip.Prefix {
	var out []netip.Prefix
	for i, a := range s.Addresses {
		p, err := netip.ParsePrefix(a)
		if addr, aerr := netip.ParseAddr(a); aerr == nil {
			p, err = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
		}
		if err != nil {
			n.refuse(reasonInvalid, indexed("spec.addresses", i), "%q is no IP address and no CIDR", a)
			continue
		}
		if r := entryResolution(s); !p.IsSingleIP() && (r == model.ResolveDNS || r == model.ResolveDNSRoundRobin) {
			n.refuse(reasonInvalid, indexed("spec.addresses", i), "the range %q needs resolution NONE or STATIC", a)
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

// entryPorts are the ports that can be proxied.
func entryPorts(s *v1alpha1.ServiceEntrySpec, n *notes) []model.HostPort {
	var out []model.HostPort
	seen := map[int32]bool{}
	for i, p := range s.Ports {
		path := indexed("spec.ports", i)
		proto := portProtocol(p.Protocol, p.Name)
		if _, known := protocolNamed(p.Protocol); p.Protocol != "" && !known {
			n.refuse(reasonInvalid, path+".protocol", "%q is not a protocol; use HTTP, HTTP2, GRPC, HTTPS, TLS or TCP", p.Protocol)
			continue
		}
		switch {
		case p.Number < 1 || p.Number > 65535 || p.TargetPort < 0 || p.TargetPort > 65535:
			n.refuse(reasonInvalid, path, "a port is a number from 1 to 65535")
		case seen[p.Number]:
			n.refuse(reasonInvalid, path+".number", "the number %d is that of an earlier port", p.Number)
		case proto == model.ProtoUDP:
			n.warn(reasonUnsupported, path+".protocol", "UDP is not proxied; the port has no effect")
		default:
			seen[p.Number] = true
			out = append(out, model.HostPort{Name: p.Name, Number: uint16(p.Number), Target: uint16(p.TargetPort), Protocol: proto})
		}
	}
	return out
}

// entryEndpoints are the inline endpoints. A bad one is left out.
func entryEndpoints(s *v1alpha1.ServiceEntrySpec, n *notes) []model.WorkloadEndpoint {
	names := map[string]bool{}
	for _, p := range s.Ports {
		names[p.Name] = true
	}
	var out []model.WorkloadEndpoint
	for i := range s.Endpoints {
		path := indexed("spec.endpoints", i)
		we, ok := workloadEndpoint(&s.Endpoints[i], path, n)
		if !ok {
			continue
		}
		if !isAddr(we.Address) && s.Resolution == v1alpha1.ResolutionStatic {
			n.refuse(reasonInvalid, path+".address", "%q is no IP address; use resolution DNS for names", we.Address)
			continue
		}
		for _, name := range sortedKeys(we.Ports) {
			if !names[name] {
				n.warn(reasonUnresolved, path+".ports."+name, "there is no port of this name in spec.ports; the entry has no effect")
			}
		}
		out = append(out, we)
	}
	return out
}
