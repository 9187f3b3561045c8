package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/verdict"
)

// meshSource is who a rule is about: by names, by addresses, or everybody. All conditions must hold.
type meshSource struct {
	names []NameRequirement
	// in are the ranges that an address must be in, once ranged; not those that it must not be in.
	in     []netip.Prefix
	ranged bool
	not    []netip.Prefix
}

// peers are a source in the words of a Rule, in which a peer is known by its names or by its addresses, not by both.
func (s *meshSource) peers(m *authorizationMatch) []Peer {
	byAddress := s.ranged || len(s.not) > 0
	switch {
	case byAddress && len(s.names) > 0:
		m.unsupported(m.path+".from", "who is known by a principal, and where from by an address, cannot be asked together; write one of them")
		return s.named()
	case byAddress:
		return s.addressed()
	case len(s.names) > 0:
		return s.named()
	}
	return []Peer{{Entity: verdict.All}}
}

// named are pods. Where nothing is asked for that they are, and only that they are not, also what has no principal at all.
func (s *meshSource) named() []Peer {
	sel := &Selector{}
	var rest []NameRequirement
	only := true
	for _, q := range s.names {
		only = only && q.Not
		if !q.Not && sel.exact(q) {
			continue
		}
		rest = append(rest, q)
	}
	sel.Names = rest
	out := []Peer{{Pods: sel}}
	if only {
		out = append(out, Peer{Entity: verdict.World | verdict.Host | verdict.RemoteNode})
	}
	return out
}

// exact says by lists of names what a requirement says without "*". It narrows the namespaces in any case, and tells whether that,
// with the ServiceAccounts, is all.
func (s *Selector) exact(q NameRequirement) bool {
	var namespaces, accounts []string
	for _, p := range q.Patterns {
		if strings.Contains(p, "*") {
			return false
		}
		ns := p
		if q.Of == OfPrincipal {
			var sa string
			ns, sa, _ = strings.Cut(strings.TrimPrefix(p, "/ns/"), "/sa/")
			accounts = append(accounts, sa)
		}
		namespaces = append(namespaces, ns)
	}
	namespaces = slices.Compact(slices.Sorted(slices.Values(namespaces)))
	if s.Namespaces != nil {
		namespaces = slices.DeleteFunc(namespaces, func(n string) bool { return !slices.Contains(s.Namespaces, n) })
	}
	if namespaces == nil {
		namespaces = []string{}
	}
	s.Namespaces = namespaces
	if q.Of == OfNamespace {
		return true
	}
	if len(namespaces) > 1 || s.ServiceAccounts != nil {
		return false
	}
	for _, p := range q.Patterns {
		if !slices.ContainsFunc(namespaces, func(n string) bool { return strings.HasPrefix(p, "/ns/"+n+"/sa/") }) {
			return false
		}
	}
	s.ServiceAccounts = slices.Compact(slices.Sorted(slices.Values(accounts)))
	return true
}

func (s *meshSource) addressed() []Peer {
	in := s.in
	if !s.ranged {
		in = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	var out []Peer
	for _, p := range in {
		r := &Range{CIDR: p}
		gone := false
		for _, n := range s.not {
			switch {
			case covers(n, p):
				gone = true
			case covers(p, n):
				r.Except = append(r.Except, n)
			}
		}
		if !gone {
			slices.SortFunc(r.Except, netip.Prefix.Compare)
			out = append(out, Peer{Range: r})
		}
	}
	return out
}

// covers tells whether all addresses of a prefix are in another.
func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// addresses narrows by ranges, any of values and none of the others.
func (m *authorizationMatch) addresses(s *meshSource, values, not []string, path, notPath string) {
	read := func(list []string, path string) (out []netip.Prefix) {
		for i, v := range list {
			p, err := prefix(v)
			if err != nil {
				m.invalid(fmt.Sprintf("%s[%d]", path, i), err)
				continue
			}
			out = append(out, p)
		}
		return out
	}
	in, out := read(values, path), read(not, notPath)
	if len(values) > 0 && (len(in) == len(values) || !m.c.deny) { // what denies, and is not understood, denies more
		s.narrow(in)
	}
	s.not = append(s.not, out...)
}

func (s *meshSource) narrow(to []netip.Prefix) {
	if !s.ranged {
		s.in, s.ranged = to, true
		return
	}
	var out []netip.Prefix
	for _, a := range s.in {
		for _, b := range to {
			switch {
			case covers(a, b):
				out = append(out, b)
			case covers(b, a):
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	s.in = slices.Compact(out)
}

// name narrows by a name, any of values and none of the others.
func (m *authorizationMatch) name(s *meshSource, of Name, values, not []string) {
	if values != nil {
		s.names = append(s.names, NameRequirement{Of: of, Patterns: values})
	}
	if len(not) > 0 {
		s.names = append(s.names, NameRequirement{Of: of, Not: true, Patterns: not})
	}
	if values != nil || not != nil {
		m.c.warn(ReasonKernelIdentity, "spec.rules", "principals, namespaces and ServiceAccounts are those of the pod that has the address, as the node knows it; they are proved by mTLS once there is a proxy")
	}
}

// translated is a list through a function that may drop values; nil stays nil, as it says nothing.
func translated(list []string, f func(string) []string) []string {
	if len(list) == 0 {
		return nil
	}
	out := []string{}
	for _, v := range list {
		out = append(out, f(v)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (m *authorizationMatch) namespaces(s *meshSource, values, not []string, _, _ string) {
	same := func(v string) []string { return []string{v} }
	m.name(s, OfNamespace, translated(values, same), translated(not, same))
}

func (m *authorizationMatch) principals(s *meshSource, values, not []string, _, _ string) {
	m.name(s, OfPrincipal, translated(values, m.c.mesh.paths), translated(not, m.c.mesh.paths))
}

func (m *authorizationMatch) serviceAccounts(s *meshSource, values, not []string, path, notPath string) {
	read := func(list []string, path string) ([]string, bool) {
		good := true
		return translated(list, func(v string) []string {
			ns, name, ok := strings.Cut(v, "/")
			if !ok {
				ns, name = m.c.namespace, v
			}
			if ns == "" || name == "" || strings.ContainsAny(name, "/*") || strings.Contains(ns, "*") {
				m.invalid(path, fmt.Errorf("%q is neither a ServiceAccount's name nor <namespace>/<name>", v))
				good = false
				return nil
			}
			return []string{"/ns/" + ns + "/sa/" + name}
		}), good
	}
	in, good := read(values, path)
	out, _ := read(not, notPath)
	if !good && m.c.deny {
		in = nil
	}
	m.name(s, OfPrincipal, in, out)
}

// trustDomains asks for the trust domain of a principal: all pods are of one.
func (m *authorizationMatch) trustDomains(s *meshSource, values, not []string, _, _ string) {
	ours := func(v string) []string {
		if slices.ContainsFunc(m.c.mesh.domains(), func(d string) bool { return glob(v, d) }) {
			return []string{"*"}
		}
		return nil
	}
	m.name(s, OfPrincipal, translated(values, ours), translated(not, ours))
}

// domains are the names of the trust domain.
func (c *MeshConfig) domains() []string {
	out := append([]string{c.TrustDomain, "cluster.local"}, c.Aliases...)
	slices.Sort(out)
	return slices.Compact(out)
}

// paths are the patterns of paths of SPIFFE IDs that a principal means, "<trust domain>/ns/<namespace>/sa/<service account>" with "*" at
// its beginning or at its end; none for one of another trust domain.
func (c *MeshConfig) paths(principal string) (out []string) {
	if principal == "*" {
		return []string{"*"}
	}
	suffix, isSuffix := strings.CutPrefix(principal, "*")
	start, isPrefix := strings.CutSuffix(suffix, "*")
	if isSuffix && isPrefix || strings.Contains(start, "*") {
		return nil // one more is a character, which no name has
	}
	for _, domain := range c.domains() {
		switch {
		case isSuffix:
			out = append(out, suffixPath(suffix, domain)...)
		case isPrefix && strings.HasPrefix(domain, start):
			out = append(out, "*")
		case isPrefix:
			if rest, ok := strings.CutPrefix(start, domain); ok && strings.HasPrefix(rest, "/") {
				out = append(out, rest+"*")
			}
		default:
			if rest, ok := strings.CutPrefix(principal, domain); ok && strings.HasPrefix(rest, "/") {
				out = append(out, rest)
			}
		}
	}
	return out
}

// suffixPath is the pattern of paths for the end of a principal, which may begin inside of the trust domain.
func suffixPath(suffix, domain string) []string {
	at := strings.Index(suffix, "/ns/")
	if at < 0 || strings.Contains(suffix[:at], "/") {
		return []string{"*" + suffix}
	}
	if !strings.HasSuffix(domain, suffix[:at]) {
		return nil
	}
	return []string{suffix[at:]}
}

func sortRequirements(list []Requirement) {
	slices.SortFunc(list, func(a, b Requirement) int { return cmp.Compare(a.Key, b.Key) })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
