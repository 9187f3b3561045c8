package policy

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

type authorizationObject = model.Object[v1alpha1.AuthorizationPolicySpec]

// specMatch is Istio's match of strings: exact, by a prefix, by a suffix, or any that is not empty.
func specMatch(pattern, s string) bool {
	switch {
	case pattern == "*":
		return s != ""
	case strings.HasPrefix(pattern, "*"):
		return strings.HasSuffix(s, pattern[1:])
	case strings.HasSuffix(pattern, "*"):
		return strings.HasPrefix(s, pattern[:len(pattern)-1])
	}
	return pattern == s
}

// principals are what the other side is called in policies; none for what is no pod.
func principals(p *party) (out []string) {
	for _, domain := range []string{"mesh.example", "old.example", "cluster.local"} {
		if p.pod() {
			out = append(out, domain+"/ns/"+p.namespace+"/sa/"+p.account)
		}
	}
	return out
}

// specAuthorization evaluates AuthorizationPolicies as Istio's reference tells it, for a side that is either asked for by its
// names or by its address.
func specAuthorization(objects []*authorizationObject, subject, other *party, protocol uint8, port uint16) bool {
	if other.entities&verdict.Host != 0 {
		return true
	}
	isolated, allow, deny := false, false, false
	for _, o := range objects {
		spec := &o.Spec
		if o.Namespace != subject.namespace && o.Namespace != DefaultRoot()[o.Group] {
			continue
		}
		if spec.Selector != nil && slices.ContainsFunc(sortedKeys(spec.Selector.MatchLabels), func(k string) bool { return subject.labels[k] != spec.Selector.MatchLabels[k] }) {
			continue
		}
		denies := spec.Action == "DENY"
		isolated = isolated || !denies
		for i := range spec.Rules {
			if specRule(&spec.Rules[i], o.Namespace, denies, other, protocol, port) {
				allow, deny = allow || !denies, deny || denies
			}
		}
	}
	return !deny && (allow || !isolated)
}

func specRule(r *v1alpha1.AuthorizationRule, namespace string, denies bool, other *party, protocol uint8, port uint16) bool {
	any := func(list []string, is func(string) bool) bool { return slices.ContainsFunc(list, is) }
	principal := func(v string) bool {
		return slices.ContainsFunc(principals(other), func(p string) bool { return specMatch(v, p) })
	}
	ns := func(v string) bool { return other.pod() && glob(v, other.namespace) }
	account := func(v string) bool {
		if !strings.Contains(v, "/") {
			v = namespace + "/" + v
		}
		return other.pod() && v == other.namespace+"/"+other.account
	}
	domain := func(v string) bool {
		return other.pod() && slices.ContainsFunc([]string{"mesh.example", "old.example", "cluster.local"}, func(d string) bool { return specMatch(v, d) })
	}
	address := func(v string) bool {
		if !strings.Contains(v, "/") {
			return netip.MustParseAddr(v) == other.address
		}
		return netip.MustParsePrefix(v).Masked().Contains(other.address)
	}
	ported := protocol == TCP || protocol == UDP || protocol == SCTP
	number := func(v string) bool { return ported && v == strconv.Itoa(int(port)) }
	is := func(values, not []string, f func(string) bool) bool {
		return (len(values) == 0 || any(values, f)) && !any(not, f)
	}
	// What has no ports has none of a list, and is denied, and not allowed, where some are left out.
	ports := func(values, not []string) bool {
		if len(values)+len(not) > 0 && !ported {
			return denies && len(values) == 0 && (protocol == ICMP || protocol == ICMPv6)
		}
		return is(values, not, number)
	}
	from := len(r.From) == 0
	for _, f := range r.From {
		s := f.Source
		from = from || is(s.Principals, s.NotPrincipals, principal) && is(s.Namespaces, s.NotNamespaces, ns) &&
			is(s.ServiceAccounts, s.NotServiceAccounts, account) && is(s.TrustDomains, s.NotTrustDomains, domain) &&
			is(s.IPBlocks, s.NotIPBlocks, address)
		if !denies && len(s.RequestPrincipals) > 0 {
			return false // a part of the rule that nobody can judge
		}
	}
	to := len(r.To) == 0
	for _, t := range r.To {
		to = to || ports(t.Operation.Ports, t.Operation.NotPorts)
		if !denies && len(t.Operation.Methods) > 0 {
			return false
		}
	}
	when := true
	for _, w := range r.When {
		switch w.Key {
		case "source.ip":
			when = when && is(w.Values, w.NotValues, address)
		case "source.namespace":
			when = when && is(w.Values, w.NotValues, ns)
		case "source.principal":
			when = when && is(w.Values, w.NotValues, principal)
		case "destination.port":
			when = when && ports(w.Values, w.NotValues)
		default:
			when = when && denies
		}
	}
	return from && to && when
}

func randomAuthorization(r *rand.Rand) *authorizationObject {
	group := pick(r, v1alpha1.Group, v1alpha1.IstioSecurityGroup)
	o := &authorizationObject{Meta: model.Meta{Ref: model.Ref{Group: group, Kind: "AuthorizationPolicy", Namespace: pick(r, "shop", "bank", DefaultRoot()[group]), Name: "x"}}}
	o.Spec.Action = pick(r, "", "ALLOW", "ALLOW", "DENY")
	if r.IntN(2) == 0 {
		o.Spec.Selector = &v1alpha1.PodLabels{MatchLabels: map[string]string{"app": pick(r, "web", "db")}}
	}
	list := func(values ...string) []string {
		if r.IntN(3) > 0 {
			return nil
		}
		return append(some(r, 1, func() string { return pick(r, values...) }), pick(r, values...))
	}
	names := []string{"*", "mesh.example/ns/shop/sa/web", "cluster.local/ns/bank/*", "*/sa/web", "other.example/ns/shop/sa/web", "*example/ns/shop/sa/db", "mesh*", "old.example/ns/ops/sa/web", "*sa/teller", "mesh.example/ns/*/sa/web"}
	addresses := []string{"10.1.0.0/24", "10.1.0.1", "192.168.0.0/30", "::/0", "203.0.113.0/24", "10.0.0.0/8"}
	byAddress := false
	rule := func() (out v1alpha1.AuthorizationRule) {
		byAddress = r.IntN(3) == 0
		for range r.IntN(3) {
			s := &v1alpha1.AuthorizationSource{}
			if byAddress {
				s.IPBlocks, s.NotIPBlocks = list(addresses...), list(addresses...)
			} else {
				s.Principals, s.NotPrincipals = list(names...), list(names...)
				s.Namespaces, s.NotNamespaces = list("shop", "b*", "*k", "*", "*o*"), list("shop", "op*")
				s.ServiceAccounts, s.NotServiceAccounts = list("web", "bank/teller"), list("db", "ops/web")
				s.TrustDomains, s.NotTrustDomains = list("mesh.example", "*.example", "far"), list("old.example", "far")
			}
			if len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces)+len(s.ServiceAccounts)+len(s.NotServiceAccounts)+
				len(s.TrustDomains)+len(s.NotTrustDomains)+len(s.IPBlocks)+len(s.NotIPBlocks) == 0 || r.IntN(12) == 0 {
				s.RequestPrincipals = []string{"x"}
			}
			out.From = append(out.From, v1alpha1.AuthorizationFrom{Source: s})
		}
		for range r.IntN(2) {
			op := &v1alpha1.AuthorizationOperation{Ports: list("80", "443", "1500"), NotPorts: list("80", "53")}
			if len(op.Ports)+len(op.NotPorts) == 0 || r.IntN(10) == 0 {
				op.Methods = []string{"GET"}
			}
			out.To = append(out.To, v1alpha1.AuthorizationTo{Operation: op})
		}
		for range r.IntN(2) {
			w := v1alpha1.AuthorizationCondition{Key: pick(r, "source.namespace", "source.principal", "destination.port", "request.headers[x]"), Values: []string{"x"}}
			if byAddress {
				w.Key = pick(r, "source.ip", "destination.port")
			}
			switch w.Key {
			case "source.ip":
				w.Values, w.NotValues = []string{pick(r, addresses...)}, list(addresses...)
			case "source.namespace":
				w.Values, w.NotValues = []string{pick(r, "shop", "*")}, list("bank")
			case "source.principal":
				w.Values, w.NotValues = nil, []string{pick(r, names...)}
			case "destination.port":
				w.Values, w.NotValues = []string{pick(r, "80", "8080")}, list("80")
			}
			out.When = append(out.When, w)
		}
		return out
	}
	o.Spec.Rules = some(r, 3, rule)
	return o
}

func TestAuthorizationPolicyIsItsSpecification(t *testing.T) {
	allowed, all := 0, 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 13))
		var objects []*authorizationObject
		var policies []*Policy
		for range 1 + r.IntN(3) {
			o := randomAuthorization(r)
			p := AuthorizationPolicy(o, &testMesh)
			for _, n := range p.Notes {
				if n.Refused && (n.Reason != ReasonUnsupported || strings.Contains(n.Message, "together")) {
					t.Fatalf("seed %d: %+v", seed, n)
				}
			}
			objects, policies = append(objects, o), append(policies, p)
		}
		a, n := specCompare(policies, verdict.Mesh, func(d verdict.Direction, s, o *party, protocol uint8, port uint16) bool {
			return d == verdict.Egress || specAuthorization(objects, s, o, protocol, port)
		}, func(d verdict.Direction, s, o *party, protocol uint8, port uint16, got bool) {
			text, _ := json.MarshalIndent(objects, "", " ")
			t.Fatalf("seed %d: %s of %s, %s, %d/%d: %t\n%s", seed, directionText[d], s.name, o.name, protocol, port, got, text)
		})
		allowed, all = allowed+a-n/2, all+n/2
	}
	if allowed < all/4 || allowed > all*9/10 {
		t.Errorf("%d of %d are allowed: the rules say too little", allowed, all)
	}
}
