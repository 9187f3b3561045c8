package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/verdict"
)

// authorizationMatch is one rule on its way. ok is false where a part of it is not understood.
type authorizationMatch struct {
	c    *authorization
	path string
	ok   bool
}

// unsupported tells of a part that a kernel cannot decide.
func (m *authorizationMatch) unsupported(path string, why string) {
	what := "the rule allows nothing"
	if m.c.deny {
		what = "the rule denies whatever its other parts match"
	}
	m.c.refuse(ReasonUnsupported, path, "%s; %s", why, what)
	m.ok = false
}

func (m *authorizationMatch) invalid(path string, err error) {
	m.c.refuse(ReasonInvalid, path, "%v", err)
	m.ok = false
}

const needsProxy = "it is decided by a proxy, which does not do so yet"

// layer7 refuses fields that are set.
func (m *authorizationMatch) layer7(path string, fields map[string][]string) {
	for _, name := range sortedKeys(fields) {
		if len(fields[name]) > 0 {
			m.unsupported(path+"."+name, needsProxy)
		}
	}
}

// sources are who a rule is about: one for each of from, all conditions in each.
func (m *authorizationMatch) sources(r *v1alpha1.AuthorizationRule) []*meshSource {
	if r.From != nil && len(r.From) == 0 {
		m.invalid(m.path+".from", fmt.Errorf("an empty list matches nothing; leave it out for every source"))
	}
	var out []*meshSource
	for i := range r.From {
		path := fmt.Sprintf("%s.from[%d].source", m.path, i)
		s := &meshSource{}
		if src := r.From[i].Source; src == nil {
			m.invalid(path, fmt.Errorf("source must be set"))
		} else if !m.source(s, src, path) {
			m.invalid(path, fmt.Errorf("source must say something"))
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		out = []*meshSource{{}}
	}
	for i := range r.When {
		for _, s := range out {
			m.sourceCondition(s, &r.When[i], fmt.Sprintf("%s.when[%d]", m.path, i))
		}
	}
	return out
}

// source takes one source; false is one that says nothing.
func (m *authorizationMatch) source(s *meshSource, src *v1alpha1.AuthorizationSource, path string) bool {
	m.layer7(path, map[string][]string{
		"requestPrincipals": src.RequestPrincipals, "notRequestPrincipals": src.NotRequestPrincipals,
		"remoteIpBlocks": src.RemoteIPBlocks, "notRemoteIpBlocks": src.NotRemoteIPBlocks,
	})
	m.principals(s, src.Principals, src.NotPrincipals, path+".principals", path+".notPrincipals")
	m.namespaces(s, src.Namespaces, src.NotNamespaces, path+".namespaces", path+".notNamespaces")
	m.serviceAccounts(s, src.ServiceAccounts, src.NotServiceAccounts, path+".serviceAccounts", path+".notServiceAccounts")
	m.trustDomains(s, src.TrustDomains, src.NotTrustDomains, path+".trustDomains", path+".notTrustDomains")
	m.addresses(s, src.IPBlocks, src.NotIPBlocks, path+".ipBlocks", path+".notIpBlocks")
	said := 0
	for _, list := range [][]string{
		src.Principals, src.NotPrincipals, src.RequestPrincipals, src.NotRequestPrincipals, src.Namespaces, src.NotNamespaces,
		src.ServiceAccounts, src.NotServiceAccounts, src.TrustDomains, src.NotTrustDomains, src.IPBlocks, src.NotIPBlocks,
		src.RemoteIPBlocks, src.NotRemoteIPBlocks,
	} {
		said += len(list)
	}
	return said > 0
}

// sourceCondition takes a condition if it is about the source.
func (m *authorizationMatch) sourceCondition(s *meshSource, w *v1alpha1.AuthorizationCondition, path string) {
	in, not := path+".values", path+".notValues"
	switch w.Key {
	case "source.ip":
		m.addresses(s, w.Values, w.NotValues, in, not)
	case "source.namespace":
		m.namespaces(s, w.Values, w.NotValues, in, not)
	case "source.principal":
		m.principals(s, w.Values, w.NotValues, in, not)
	case "source.serviceAccount":
		m.serviceAccounts(s, w.Values, w.NotValues, in, not)
	case "source.trustDomain":
		m.trustDomains(s, w.Values, w.NotValues, in, not)
	}
}

// operations are the ports of a rule.
func (m *authorizationMatch) operations(r *v1alpha1.AuthorizationRule) []verdict.Ports {
	always := portSet{}
	for i := range r.When {
		m.condition(&always, &r.When[i], fmt.Sprintf("%s.when[%d]", m.path, i))
	}
	if r.To != nil && len(r.To) == 0 {
		m.invalid(m.path+".to", fmt.Errorf("an empty list matches nothing; leave it out for every operation"))
	}
	var out []verdict.Ports
	for i := range r.To {
		path := fmt.Sprintf("%s.to[%d].operation", m.path, i)
		set := always.clone()
		if op := r.To[i].Operation; op == nil {
			m.invalid(path, fmt.Errorf("operation must be set"))
		} else if !m.operation(&set, op, path) {
			m.invalid(path, fmt.Errorf("operation must say something"))
		}
		out = append(out, set.ports(m.c.deny)...)
	}
	if len(r.To) == 0 {
		out = always.ports(m.c.deny)
	}
	slices.SortFunc(out, func(a, b verdict.Ports) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	return slices.Compact(out)
}

func (m *authorizationMatch) operation(set *portSet, op *v1alpha1.AuthorizationOperation, path string) bool {
	m.layer7(path, map[string][]string{
		"hosts": op.Hosts, "notHosts": op.NotHosts, "methods": op.Methods, "notMethods": op.NotMethods, "paths": op.Paths, "notPaths": op.NotPaths,
	})
	m.portNumbers(set, op.Ports, op.NotPorts, path+".ports", path+".notPorts")
	return len(op.Hosts)+len(op.NotHosts)+len(op.Methods)+len(op.NotMethods)+len(op.Paths)+len(op.NotPaths)+len(op.Ports)+len(op.NotPorts) > 0
}

// condition takes a condition if it is about the destination, and knows those about the source.
func (m *authorizationMatch) condition(set *portSet, w *v1alpha1.AuthorizationCondition, path string) {
	switch {
	case len(w.Values)+len(w.NotValues) == 0:
		m.invalid(path, fmt.Errorf("values or notValues must be set"))
	case w.Key == "destination.port":
		m.portNumbers(set, w.Values, w.NotValues, path+".values", path+".notValues")
	case slices.Contains([]string{"source.ip", "source.namespace", "source.principal", "source.serviceAccount", "source.trustDomain"}, w.Key):
	case w.Key == "destination.ip":
		m.unsupported(path+".key", "pods that share an identity differ in their addresses, so they are selected by labels only")
	case w.Key == "remote.ip", w.Key == "connection.sni", strings.HasPrefix(w.Key, "request."), strings.HasPrefix(w.Key, "experimental."):
		m.unsupported(path+".key", needsProxy)
	default:
		m.invalid(path+".key", fmt.Errorf("attribute %q is not known", w.Key))
	}
}

// portNumbers narrows a set by ports, any of values and none of others.
func (m *authorizationMatch) portNumbers(set *portSet, values, not []string, path, notPath string) {
	read := func(list []string, path string) (out []uint16) {
		for i, v := range list {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil {
				m.invalid(fmt.Sprintf("%s[%d]", path, i), fmt.Errorf("%q is no port", v))
				continue
			}
			out = append(out, uint16(n))
		}
		return out
	}
	in, out := read(values, path), read(not, notPath)
	if len(values) > 0 && (len(in) == len(values) || !m.c.deny) {
		set.narrow(in)
	}
	set.not = append(set.not, out...)
	set.any = set.any || len(out) > 0
}

// portSet is ports: any of each list of in, and none of not.
type portSet struct {
	in  []uint16
	not []uint16
	// any is set where something is said, whole where in counts.
	any, whole bool
}

func (s *portSet) clone() portSet {
	out := *s
	out.in, out.not = slices.Clone(s.in), slices.Clone(s.not)
	return out
}

func (s *portSet) narrow(to []uint16) {
	if s.whole {
		s.in = slices.DeleteFunc(s.in, func(p uint16) bool { return !slices.Contains(to, p) })
	} else {
		s.in = slices.Clone(to)
	}
	s.any, s.whole = true, true
}

// ports are those of every protocol that has ports. Where some are left out, and it is to deny, what has no ports is denied too.
func (s *portSet) ports(deny bool) (out []verdict.Ports) {
	if !s.any {
		return everything()
	}
	ranges := [][2]uint16{}
	if s.whole {
		for _, p := range s.in {
			if !slices.Contains(s.not, p) {
				ranges = append(ranges, [2]uint16{p, p})
			}
		}
	} else {
		ranges = without(s.not)
		if deny {
			out = append(out, verdict.Ports{Protocol: ICMP, Last: 0xffff}, verdict.Ports{Protocol: ICMPv6, Last: 0xffff})
		}
	}
	for _, r := range ranges {
		for _, n := range withPorts() {
			out = append(out, verdict.Ports{Protocol: n, First: r[0], Last: r[1]})
		}
	}
	return out
}

// without are the ranges of all ports but some.
func without(not []uint16) (out [][2]uint16) {
	first := uint32(0)
	for _, p := range slices.Compact(slices.Sorted(slices.Values(not))) {
		if first < uint32(p) {
			out = append(out, [2]uint16{uint16(first), p - 1})
		}
		first = uint32(p) + 1
	}
	if first <= 0xffff {
		out = append(out, [2]uint16{uint16(first), 0xffff})
	}
	return out
}
