package convert

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.io/fairlead/pkg/model"
)

// Service converts a v1 Service, with the defaults of an API server.
func Service(o *corev1.Service) *model.Service {
	s := &model.Service{
		Meta: metaOf(o, model.Ref{Kind: "Service"}, "v1"),
		Type: string(o.Spec.Type), ExternalName: o.Spec.ExternalName, Selector: o.Spec.Selector,
		SessionAffinity: o.Spec.SessionAffinity == corev1.ServiceAffinityClientIP,
		PublishNotReady: o.Spec.PublishNotReadyAddresses,
	}
	if s.Type == "" {
		s.Type = string(corev1.ServiceTypeClusterIP)
	}
	ips := o.Spec.ClusterIPs
	if len(ips) == 0 && o.Spec.ClusterIP != "" {
		ips = []string{o.Spec.ClusterIP} // only in files
	}
	if len(ips) > 0 && ips[0] == corev1.ClusterIPNone {
		s.Headless = true
	} else {
		s.Addresses = addrs(&s.Meta, "spec.clusterIPs", ips)
	}
	for i := range s.Issues {
		if len(o.Spec.ClusterIPs) == 0 {
			s.Issues[i].Path = "spec.clusterIP"
		}
	}
	if p := o.Spec.InternalTrafficPolicy; p != nil {
		s.InternalLocal = *p == corev1.ServiceInternalTrafficPolicyLocal
	}
	if d := o.Spec.TrafficDistribution; d != nil {
		s.Distribution = *d
	}
	for i := range o.Spec.Ports {
		servicePort(s, i, &o.Spec.Ports[i])
	}
	return s
}

func servicePort(s *model.Service, i int, p *corev1.ServicePort) {
	path := "spec.ports[" + strconv.Itoa(i) + "]"
	out := model.ServicePort{Name: p.Name, Number: port(&s.Meta, path+".port", p.Port), Protocol: protocol(p.Protocol), Target: p.TargetPort.String()}
	if p.AppProtocol != nil {
		out.AppProtocol = *p.AppProtocol
	}
	if out.Target == "0" || out.Target == "" {
		out.Target = strconv.Itoa(int(out.Number))
	}
	switch out.Protocol {
	case "TCP", "UDP", "SCTP":
	default:
		issue(&s.Meta, path+".protocol", strconv.Quote(out.Protocol)+" is not a protocol; use TCP, UDP or SCTP")
		return
	}
	for _, other := range s.Ports {
		if other.Name == out.Name {
			issue(&s.Meta, path+".name", "the name "+strconv.Quote(out.Name)+" is that of an earlier port; the ports of a Service need names of their own")
			return
		}
	}
	if out.Number != 0 {
		s.Ports = append(s.Ports, out)
	}
}

func protocol(p corev1.Protocol) string {
	if p == "" {
		return "TCP"
	}
	return string(p)
}

// EndpointSlice converts a discovery.k8s.io/v1 EndpointSlice. Slices of names (addressType FQDN) have no endpoints here.
func EndpointSlice(o *discoveryv1.EndpointSlice) *model.EndpointSlice {
	s := &model.EndpointSlice{
		Meta:    metaOf(o, model.Ref{Group: GroupDiscovery, Kind: "EndpointSlice"}, "v1"),
		Service: o.Labels[discoveryv1.LabelServiceName],
	}
	s.Annotations = nil
	for i, p := range o.Ports {
		var out model.EndpointPort
		// A port without a number means all ports; it cannot be a cluster's endpoint.
		if p.Port == nil {
			continue
		}
		if out.Number = port(&s.Meta, "ports["+strconv.Itoa(i)+"].port", *p.Port); out.Number == 0 {
			continue
		}
		if p.Name != nil {
			out.Name = *p.Name
		}
		if p.Protocol != nil {
			out.Protocol = string(*p.Protocol)
		} else {
			out.Protocol = "TCP"
		}
		if p.AppProtocol != nil {
			out.AppProtocol = *p.AppProtocol
		}
		s.Ports = append(s.Ports, out)
	}
	if o.AddressType == discoveryv1.AddressTypeFQDN {
		issue(&s.Meta, "addressType", "FQDN slices are not served; use a ServiceEntry with DNS resolution")
		return s
	}
	s.Endpoints = make([]model.Endpoint, 0, len(o.Endpoints))
	for i := range o.Endpoints {
		s.Endpoints = append(s.Endpoints, endpoint(s, i, &o.Endpoints[i]))
	}
	return s
}

func endpoint(s *model.EndpointSlice, i int, e *discoveryv1.Endpoint) model.Endpoint {
	is := func(p *bool, unset bool) bool {
		if p == nil {
			return unset
		}
		return *p
	}
	// discovery.k8s.io/v1: a missing ready means ready; a missing serving means what ready says.
	ready := is(e.Conditions.Ready, true)
	out := model.Endpoint{
		Addresses:   addrs(&s.Meta, "endpoints["+strconv.Itoa(i)+"].addresses", e.Addresses),
		Ready:       ready,
		Serving:     is(e.Conditions.Serving, ready),
		Terminating: is(e.Conditions.Terminating, false),
	}
	if e.NodeName != nil {
		out.Node = *e.NodeName
	}
	if e.Zone != nil {
		out.Zone = *e.Zone
	}
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		out.Pod = model.Key(s.Namespace, e.TargetRef.Name)
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			out.ZoneHints = append(out.ZoneHints, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			out.NodeHints = append(out.NodeHints, n.Name)
		}
	}
	return out
}
