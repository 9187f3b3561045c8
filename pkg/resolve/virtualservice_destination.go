package resolve

import (
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// target is a destination after look-up. Port 0 of its id means the port that the request came in on.
type target struct {
	id   model.ClusterID
	host *model.Host // nil when nobody defines it
	path string
}

// cluster is the cluster's name for requests that came in on port (0: not known).
func (t *target) cluster(port uint16) string {
	id := t.id
	id.Port = t.portFor(port)
	return id.String()
}

// portFor is the port of the destination for requests that came in on port.
func (t *target) portFor(port uint16) uint16 {
	if t.id.Port != 0 {
		return t.id.Port
	}
	return port
}

func (v *vsRun) fqdn(name string) string { return v.hosts.FQDN(v.r, name, v.vs.Namespace) }

// target finds a destination. One that does not exist keeps its cluster's name: Envoy answers 503 for it, as with Istio,
// and starts to serve it as soon as it appears.
func (v *vsRun) target(d *v1alpha1.Destination, path string) target {
	name := strings.ToLower(strings.TrimSuffix(d.Host, "."))
	fqdn := v.fqdn(name)
	t := target{path: path, id: model.ClusterID{Namespace: v.vs.Namespace, Host: fqdn, Subset: d.Subset}}
	if d.Port != nil {
		t.id.Port = uint16(d.Port.Number)
	}
	h, ok := v.hosts.Lookup(v.r, v.vs.Namespace, fqdn)
	if !ok {
		if ns, found := v.serviceNamespace(fqdn); found {
			t.id.Namespace = ns
		}
		v.refuse(reasonUnresolved, path+".host", "no Service or ServiceEntry visible in namespace %s has the host %s%s; requests get 503", v.vs.Namespace, fqdn, v.hint(fqdn))
		return t
	}
	t.host, t.id.Namespace, t.id.Host = h, h.Namespace, h.Name
	v.targetPort(&t, d, path)
	v.targetSubset(&t, path)
	return t
}

// targetPort settles the port: the one named, or the only one of the host. Several leave the choice to the port that the
// request came in on, as in Istio.
func (v *vsRun) targetPort(t *target, d *v1alpha1.Destination, path string) {
	var usable []model.HostPort
	for _, p := range t.host.Ports {
		if p.Protocol != model.ProtoUDP {
			usable = append(usable, p)
		}
	}
	switch {
	case t.id.Port == 0 && d.Port != nil:
		v.refuse(reasonInvalid, path+".port.number", "the number of the port is missing; the host has %s", portList(usable))
	case t.id.Port == 0 && len(usable) == 1:
		t.id.Port = usable[0].Number
	case t.id.Port != 0 && !hasPort(usable, t.id.Port):
		v.refuse(reasonUnresolved, path+".port", "host %s has no port %d; it has %s", t.id.Host, t.id.Port, portList(usable))
	}
}

func (v *vsRun) targetSubset(t *target, path string) {
	if t.id.Subset == "" {
		return
	}
	p, ok := table.Get(v.r, v.policies.Table, t.host.Key())
	if ok && p.HasSubset(t.id.Subset) {
		return
	}
	v.refuse(reasonUnresolved, path+".subset", "no DestinationRule for host %s has a subset %s; add it to one, or correct the name; requests get 503", t.id.Host, t.id.Subset)
}

// hash is the consistent hash that the target's DestinationRule asks for.
func (v *vsRun) hash(t *target, port uint16) *model.HashPolicy {
	if t.host == nil {
		return nil
	}
	return v.policies.of(v.r, t.host, t.portFor(port), t.id.Subset).LB.Hash
}

// serviceNamespace is the namespace in a Service's full name.
func (v *vsRun) serviceNamespace(fqdn string) (string, bool) {
	rest, ok := strings.CutSuffix(fqdn, ".svc."+v.cfg.ClusterDomain)
	if !ok {
		return "", false
	}
	_, ns, ok := strings.Cut(rest, ".")
	return ns, ok && ns != ""
}

// hint names the host that the author may have meant: the nearest one beside it (same namespace, or same parent domain).
func (v *vsRun) hint(fqdn string) string {
	_, parent, ok := strings.Cut(fqdn, ".")
	if !ok {
		return ""
	}
	var beside []string
	for _, e := range table.UnderHost(v.r, v.hosts.ByName, "*."+parent) {
		beside = append(beside, e.Value.Name)
	}
	best := model.Nearest(fqdn, beside, 3)
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

func hasPort(ports []model.HostPort, n uint16) bool {
	return slices.ContainsFunc(ports, func(p model.HostPort) bool { return p.Number == n })
}

func portList(ports []model.HostPort) string {
	if len(ports) == 0 {
		return "none"
	}
	s := make([]string, len(ports))
	for i, p := range ports {
		s[i] = strconv.Itoa(int(p.Number))
		if p.Name != "" {
			s[i] += " (" + p.Name + ")"
		}
	}
	return strings.Join(s, ", ")
}
