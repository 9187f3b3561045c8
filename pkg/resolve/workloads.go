package resolve

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// workloadEndpoint reads a WorkloadEntry or an inline endpoint; path is where it stands.
func workloadEndpoint(s *v1alpha1.WorkloadEntrySpec, path string, n *notes) (model.WorkloadEndpoint, bool) {
	we := model.WorkloadEndpoint{
		Address: plainHost(s.Address), Labels: s.Labels, Locality: parseLocality(s.Locality),
		Network: s.Network, ServiceAccount: s.ServiceAccount,
	}
	if a, err := netip.ParseAddr(s.Address); err == nil {
		we.Address = a.Unmap().String()
	}
	switch {
	case strings.HasPrefix(s.Address, "unix://"):
		n.refuse(reasonUnsupported, path+".address", "Unix sockets are not supported: they would be those of the node, which all its workloads share; use an IP address")
		return we, false
	case s.Address == "":
		n.refuse(reasonUnsupported, path+".address", "an address is needed: gateways of other networks are not supported")
		return we, false
	case !isAddr(we.Address) && !isHostName(we.Address):
		n.refuse(reasonInvalid, path+".address", "%q is neither an IP address nor a host name", s.Address)
		return we, false
	}
	if s.Network != "" {
		n.warn(reasonUnsupported, path+".network", "networks are not supported; the address is dialled directly")
	}
	if s.ServiceAccount != "" {
		n.warn(reasonUnsupported, path+".serviceAccount", "the mesh issues no identities; the workload's is not verified")
	}
	if s.Weight != nil && *s.Weight > 0 {
		we.Weight = uint32(*s.Weight)
	}
	for _, name := range sortedKeys(s.Ports) {
		p := s.Ports[name]
		if p < 1 || p > 65535 {
			n.refuse(reasonInvalid, path+".ports."+name, "%d is no port; use 1 to 65535", p)
			return we, false
		}
		if we.Ports == nil {
			we.Ports = map[string]uint16{}
		}
		we.Ports[name] = uint16(p)
	}
	return we, true
}

// parseLocality reads "region/zone/subzone", whose tails may be missing.
func parseLocality(s string) model.Locality {
	p := strings.SplitN(s, "/", 3)
	l := model.Locality{Region: p[0]}
	if len(p) > 1 {
		l.Zone = p[1]
	}
	if len(p) > 2 {
		l.SubZone = p[2]
	}
	return l
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// isHostName tells whether a name can be asked of a resolver.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 || strings.HasPrefix(s, "*") {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// selects tells whether labels carry all that a selector asks for. An empty selector selects nothing.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return len(selector) > 0
}

// labelKeys are the index keys of labelled objects: one for each label, in its namespace.
func labelKeys(namespace string, labels map[string]string) []string {
	out := make([]string, 0, len(labels))
	for k, v := range labels {
		out = append(out, labelKey(namespace, k, v))
	}
	return out
}

func labelKey(namespace, k, v string) string { return namespace + "/" + k + "=" + v }

// coarseKey is the index key under which all objects that a selector can select are.
func coarseKey(namespace string, selector map[string]string) string {
	k := sortedKeys(selector)[0]
	return labelKey(namespace, k, selector[k])
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// indexed is the path of one item of a list.
func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
