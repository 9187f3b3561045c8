package translate

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// helloTimeout is how long a client of a port with server names may take to send its TLS hello. One that has sent nothing
// by then waits for the server to speak first, and goes where its address leads.
const helloTimeout = 3 * time.Second

// frontendChains are the encoded chains of one connection-level frontend.
type frontendChains struct {
	chains  []encodedChain
	service bool // of a Service, whose address nobody else may take
	origins []model.Ref
}

// encodedChain is a chain as an element of Listener.filter_chains.
type encodedChain struct {
	bytes []byte
	// matches are the connections that it takes, one string for each combination of its criteria.
	matches []string
	// sniPort is the port where it needs a server name to be read, or 0.
	sniPort uint16
}

// Equal compares what Envoy sees; the rest follows from it.
func (f *frontendChains) Equal(o *frontendChains) bool {
	return slices.EqualFunc(f.chains, o.chains, func(a, b encodedChain) bool { return string(a.bytes) == string(b.bytes) }) &&
		slices.Equal(f.origins, o.origins)
}

// encodeChains encodes the chains of one connection-level frontend. A route without address or server name cannot be told
// from others, and passes through; one for some clients only is left out, as resolve has told its author.
func encodeChains(f *model.Frontend) (*frontendChains, bool) {
	out := &frontendChains{origins: f.Origins, service: f.Origins[0].Kind == "Service"}
	var all []*listenerv3.FilterChain
	for i := range f.TCP {
		t := f.TCP[i]
		t.Destinations = reachable(t.Destinations, f.Addresses)
		if t.Source != nil || len(t.Destinations) == 0 && (len(t.SNI) == 0 || len(f.Addresses) > 0) {
			continue
		}
		c := tcpChain("tcp/"+strconv.Itoa(i)+"/"+f.Name, &t)
		c.FilterChainMatch.DestinationPort = wrapperspb.UInt32(uint32(f.ID.Port))
		all = append(all, c)
	}
	for _, c := range uniqueMatches(all) {
		b, ok := encodePart(filterChainField, c)
		if !ok {
			return nil, false
		}
		e := encodedChain{bytes: b, matches: chainMatches(c)}
		if len(c.FilterChainMatch.ServerNames) > 0 {
			e.sniPort = f.ID.Port
		}
		out.chains = append(out.chains, e)
	}
	return out, len(out.chains) > 0
}

// reachable narrows the destinations of a route to the addresses of its host. Envoy looks at the most specific range only,
// so that a wider one than the host's own would never be looked at.
func reachable(wanted, addresses []netip.Prefix) []netip.Prefix {
	if len(wanted) == 0 || len(addresses) == 0 {
		return append(slices.Clone(wanted), addresses...)
	}
	var out []netip.Prefix
	for _, w := range wanted {
		for _, a := range addresses {
			switch {
			case w.Bits() <= a.Bits() && w.Contains(a.Addr()):
				out = append(out, a)
			case a.Bits() <= w.Bits() && a.Contains(w.Addr()):
				out = append(out, w)
			}
		}
	}
	return sortedPrefixes(out)
}

// chainMatches lists the combinations of criteria that a chain takes. Envoy refuses a listener in which two chains have one
// in common.
func chainMatches(c *listenerv3.FilterChain) []string {
	m := c.GetFilterChainMatch()
	out := []string{strconv.Itoa(int(m.GetDestinationPort().GetValue()))}
	for _, criteria := range [][]string{ranges(m.GetPrefixRanges()), m.GetServerNames(), ranges(m.GetSourcePrefixRanges())} {
		if len(criteria) == 0 {
			criteria = []string{""}
		}
		var next []string
		for _, o := range out {
			for _, v := range criteria {
				next = append(next, o+" "+v)
			}
		}
		out = next
	}
	return out
}

// unclaimedChains drops the chains whose connections an earlier one takes: those of the listener itself first, then those
// of Services, then by name. It also gives the ports on which a server name must be read, sorted.
func unclaimedChains(first []*listenerv3.FilterChain, list []table.Entry[*frontendChains]) (kept []*frontendChains, sniPorts []uint16) {
	taken := map[string]bool{}
	for _, c := range first {
		for _, m := range chainMatches(c) {
			taken[m] = true
		}
	}
	for _, services := range []bool{true, false} {
		for _, e := range list {
			if e.Value.service != services {
				continue
			}
			f := &frontendChains{origins: e.Value.origins}
			for _, c := range e.Value.chains {
				if slices.ContainsFunc(c.matches, func(m string) bool { return taken[m] }) {
					continue
				}
				for _, m := range c.matches {
					taken[m] = true
				}
				f.chains = append(f.chains, c)
				if c.sniPort != 0 {
					sniPorts = append(sniPorts, c.sniPort)
				}
			}
			kept = append(kept, f)
		}
	}
	slices.Sort(sniPorts)
	return kept, slices.Compact(sniPorts)
}

// inspectTLS reads the server name of connections to some ports. Elsewhere nothing is waited for: in many protocols the
// server speaks first.
func inspectTLS(l *listenerv3.Listener, ports []uint16) {
	if len(ports) == 0 {
		return
	}
	f := tlsInspector()
	f.FilterDisabled = otherPorts(ports)
	l.ListenerFilters = append(l.ListenerFilters, f)
	l.ListenerFiltersTimeout, l.ContinueOnListenerFiltersTimeout = durationpb.New(helloTimeout), true
}

// otherPorts holds for connections to none of the ports.
func otherPorts(ports []uint16) *listenerv3.ListenerFilterChainMatchPredicate {
	is := make([]*listenerv3.ListenerFilterChainMatchPredicate, len(ports))
	for i, p := range ports {
		is[i] = &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
			DestinationPortRange: &typev3.Int32Range{Start: int32(p), End: int32(p) + 1},
		}}
	}
	any := is[0]
	if len(is) > 1 { // a set has two rules or more
		any = &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
			OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: is},
		}}
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_NotMatch{NotMatch: any}}
}
