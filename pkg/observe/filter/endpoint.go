package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"fairlead.io/fairlead/api/observe/flow"
)

type endpoint func(*flow.Flow) *flow.Endpoint

// addresses tests an address by others, and by ranges of them.
func addresses(list []string, of func(*flow.Flow) string) (test, error) {
	var ranges []netip.Prefix
	for _, s := range list {
		if strings.Contains(s, "/") {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, fmt.Errorf("%.100q is no range of addresses; write for example 10.0.0.0/8", s)
			}
			ranges = append(ranges, p.Masked())
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("%.100q is no address; write for example 10.0.0.1 or fd00::1", s)
		}
		a = a.Unmap()
		ranges = append(ranges, netip.PrefixFrom(a, a.BitLen()))
	}
	return func(f *flow.Flow) bool {
		a, err := netip.ParseAddr(of(f))
		return err == nil && slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
	}, nil
}

// Pod is a filter for pods: those of a namespace whose names begin with a prefix. Empty is any.
type Pod struct{ Namespace, Prefix string }

// ParsePod reads "namespace/", "namespace/prefix", "/prefix", or "prefix" in the namespace default.
func ParsePod(s string) (Pod, error) {
	namespace, prefix, ok := strings.Cut(s, "/")
	switch {
	case s == "" || strings.Contains(prefix, "/"):
		return Pod{}, fmt.Errorf("%.100q names no pod; write namespace/name, namespace/ or /name", s)
	case !ok:
		return Pod{"default", s}, nil
	}
	return Pod{namespace, prefix}, nil
}

func pods(list []string, of endpoint) (test, error) {
	var want []Pod
	for _, s := range list {
		p, err := ParsePod(s)
		if err != nil {
			return nil, err
		}
		want = append(want, p)
	}
	return func(f *flow.Flow) bool {
		namespace, name := of(f).GetNamespace(), of(f).GetPodName()
		return (namespace != "" || name != "") && slices.ContainsFunc(want, func(p Pod) bool {
			return (p.Namespace == "" || p.Namespace == namespace) && strings.HasPrefix(name, p.Prefix)
		})
	}, nil
}

func workloads(list []*flow.Workload, of endpoint) test {
	return func(f *flow.Flow) bool {
		return slices.ContainsFunc(of(f).GetWorkloads(), func(w *flow.Workload) bool {
			return slices.ContainsFunc(list, func(x *flow.Workload) bool {
				return (x.GetName() == "" || x.GetName() == w.GetName()) && (x.GetKind() == "" || x.GetKind() == w.GetKind())
			})
		})
	}
}

// nodes tests the name of the node by patterns: "*" is anything. Names come as Hubble's clients write them, "cluster/node" too; the
// one cluster that there is has the name default.
func nodes(list []string) (test, error) {
	var patterns []*regexp.Regexp
	for _, s := range list {
		cluster, name, ok := strings.Cut(s, "/")
		if !ok {
			cluster, name = "", s
		}
		if s == "" || strings.Contains(name, "/") {
			return nil, errors.New("the pattern of a node's name is [CLUSTER/]NAME, with * for anything")
		}
		if name == "" {
			name = "*"
		}
		if cluster != "" && !pattern(cluster).MatchString("default") {
			continue // of another cluster
		}
		patterns = append(patterns, pattern(name))
	}
	return func(f *flow.Flow) bool {
		return slices.ContainsFunc(patterns, func(r *regexp.Regexp) bool { return r.MatchString(f.GetNodeName()) })
	}, nil
}

func pattern(s string) *regexp.Regexp {
	return regexp.MustCompile(`\A` + strings.ReplaceAll(regexp.QuoteMeta(s), `\*`, `.*`) + `\z`)
}
