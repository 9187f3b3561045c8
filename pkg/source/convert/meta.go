package convert

import (
	"net/netip"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/model"
)

// lastApplied repeats the whole object in an annotation; nobody reads it here.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// metaOf takes over what all objects carry. Labels are shared with the object, which the caller must not change.
func metaOf(o metav1.Object, ref model.Ref, version string) model.Meta {
	ref.Namespace, ref.Name = o.GetNamespace(), o.GetName()
	return model.Meta{
		Ref: ref, Version: version,
		UID: string(o.GetUID()), Generation: o.GetGeneration(), ResourceVersion: o.GetResourceVersion(),
		Created: o.GetCreationTimestamp().UTC(),
		Labels:  o.GetLabels(), Annotations: annotations(o.GetAnnotations()),
	}
}

func annotations(a map[string]string) map[string]string {
	if _, has := a[lastApplied]; !has {
		return a
	}
	out := make(map[string]string, len(a)-1)
	for k, v := range a {
		if k != lastApplied {
			out[k] = v
		}
	}
	return out
}

// issue notes a value that does not parse. It is left out of the model value.
func issue(m *model.Meta, path, message string) {
	m.Issues = append(m.Issues, model.FieldIssue{Path: path, Message: message})
}

// addrs parses addresses in canonical form: an IPv4-mapped IPv6 address is the IPv4 one.
func addrs(m *model.Meta, path string, in []string) []netip.Addr {
	var out []netip.Addr
	for i, s := range in {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			issue(m, path+"["+strconv.Itoa(i)+"]", strconv.Quote(s)+" is not an IP address")
			continue
		}
		out = append(out, a.Unmap())
	}
	return out
}

// port checks a port number. Zero stands for one that cannot be used.
func port(m *model.Meta, path string, n int32) uint16 {
	if n < 1 || n > 65535 {
		issue(m, path, strconv.Itoa(int(n))+" is not a port number; ports are 1 to 65535")
		return 0
	}
	return uint16(n)
}
