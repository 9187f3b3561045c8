package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/explain"
	"fairlead.io/fairlead/pkg/verdict"
)

// peerRows are one row a pod, a node or a set of identities.
func peerRows(s *admin.Served) [][]string {
	p := read[struct {
		Identity, Namespace, Name string
		Addresses                 [][]byte
		Identities                []string
	}](s)
	if p.Identity == "" { // a PeerSet
		return [][]string{{s.Name, "-", "-", strings.Join(p.Identities, ", "), servedState(s)}}
	}
	var addresses []string
	for _, b := range p.Addresses {
		if a, ok := netip.AddrFromSlice(b); ok {
			addresses = append(addresses, a.String())
		}
	}
	who := p.Name
	if p.Namespace != "" {
		who = p.Namespace + "/" + p.Name
	}
	return [][]string{{s.Name, who, strings.Join(addresses, ", "), p.Identity, servedState(s)}}
}

// verdictRows are one row a rule, and one a direction in which what no rule allows is denied.
func verdictRows(s *admin.Served) (rows [][]string) {
	set := read[struct {
		Rules []struct {
			Direction, Family, Tier, Action string
			Rank                            int
			Peers                           []struct {
				PeerSet, Namespace string
				Entities           verdict.Entity
				Range, WorldRange  struct{ Cidr string }
			}
			Ports  []struct{ Protocol, First, Last int }
			Origin explain.Origin
		}
		Isolations []struct {
			Direction, Family string
			Origins           []explain.Origin
		}
	}](s)
	for _, r := range set.Rules {
		var peers, ports []string
		for _, p := range r.Peers {
			peers = append(peers, p.PeerSet+p.Namespace+strings.Join(p.Entities.Names(), "|")+p.Range.Cidr+p.WorldRange.Cidr)
		}
		for _, p := range r.Ports {
			ports = append(ports, portText(p.Protocol, p.First, p.Last))
		}
		does := word(r.Action, "deny")
		if tier := word(r.Tier, "admin"); tier != "main" {
			does = fmt.Sprintf("%s %d: %s", tier, r.Rank, does)
		}
		rows = append(rows, []string{"", where(r.Direction, r.Family), does, strings.Join(peers, ", "), strings.Join(ports, ", "), r.Origin.String(), ""})
	}
	for _, i := range set.Isolations {
		var by []string
		for _, o := range i.Origins {
			by = append(by, o.String())
		}
		rows = append(rows, []string{"", where(i.Direction, i.Family), "else deny", "-", "-", strings.Join(by, ", "), ""})
	}
	if len(rows) == 0 {
		rows = [][]string{{"", "-", "no policy", "-", "-", "-", ""}}
	}
	rows[0][0], rows[0][6] = s.Name, servedState(s)
	return rows
}

func where(direction, family string) string {
	return word(direction, "egress") + " " + word(family, "network")
}

// word is the value of an enum without its type, "DIRECTION_EGRESS"; the first one is not written.
func word(enum, first string) string {
	if _, w, ok := strings.Cut(enum, "_"); ok {
		return strings.ToLower(w)
	}
	return first
}

func portText(protocol, first, last int) string {
	name, known := map[int]string{0: "any", 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}[protocol]
	if !known {
		name = strconv.Itoa(protocol)
	}
	switch {
	case first == 0 && last == 0xffff:
		return name
	case first == last:
		return fmt.Sprintf("%s/%d", name, first)
	}
	return fmt.Sprintf("%s/%d-%d", name, first, last)
}
