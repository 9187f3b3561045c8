package resolve

import (
	"math/big"
	"slices"
	"strings"
	"time"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// The bounds of Envoy's hash structures (RingHashLbConfig, MaglevLbConfig).
const (
	maxRing   = 8 << 20
	maxMaglev = 5000011
)

func loadBalancer(s *v1alpha1.LoadBalancerSettings, path string, n *notes) model.LoadBalancer {
	var out model.LoadBalancer
	if s == nil {
		return out
	}
	switch s.Simple {
	case "", v1alpha1.SimpleLBUnspecified:
	case v1alpha1.SimpleLBLeastConn, v1alpha1.SimpleLBLeastRequest:
		out.Kind = model.LBLeastRequest
	case v1alpha1.SimpleLBRandom, v1alpha1.SimpleLBPassthrough, v1alpha1.SimpleLBRoundRobin:
		out.Kind = model.LBKind(s.Simple)
	default:
		n.refuse(reasonInvalid, path+".simple", "%q is no load balancer; use LEAST_REQUEST, ROUND_ROBIN, RANDOM or PASSTHROUGH", s.Simple)
	}
	if c := s.ConsistentHash; c != nil {
		if s.Simple != "" {
			n.refuse(reasonInvalid, path+".simple", "simple and consistentHash exclude each other; consistentHash is used")
		}
		consistentHash(&out, c, path+".consistentHash", n)
	}
	out.Warmup = warmup(s, path, n)
	if out.Warmup != nil && out.Kind != "" && out.Kind != model.LBLeastRequest && out.Kind != model.LBRoundRobin {
		n.warn(reasonInvalid, path+".warmup", "only LEAST_REQUEST and ROUND_ROBIN know a warmup; it has no effect")
		out.Warmup = nil
	}
	if s.LocalityLBSetting != nil {
		out.Locality = locality(s.LocalityLBSetting, path+".localityLbSetting", n)
	}
	if s.ZoneAwareLBSetting != nil {
		n.warn(reasonUnsupported, path+".zoneAwareLbSetting", "zone awareness by size is not supported and has no effect; use localityLbSetting")
	}
	return out
}

func consistentHash(out *model.LoadBalancer, c *v1alpha1.ConsistentHashLB, path string, n *notes) {
	out.Kind = model.LBRingHash
	var keys []model.HashPolicy
	if c.HTTPHeaderName != "" {
		keys = append(keys, model.HashPolicy{Header: c.HTTPHeaderName})
	}
	if c.HTTPCookie != nil {
		h := model.HashPolicy{Cookie: c.HTTPCookie.Name, CookiePath: c.HTTPCookie.Path, CookieTTL: n.span(c.HTTPCookie.TTL, 0, path+".httpCookie.ttl")}
		if len(c.HTTPCookie.Attributes) > 0 {
			n.warn(reasonUnsupported, path+".httpCookie.attributes", "attributes of a generated cookie are not supported and are left out")
		}
		keys = append(keys, h)
	}
	if c.UseSourceIP != nil && *c.UseSourceIP {
		keys = append(keys, model.HashPolicy{SourceIP: true})
	}
	if c.HTTPQueryParameterName != "" {
		keys = append(keys, model.HashPolicy{Query: c.HTTPQueryParameterName})
	}
	if len(keys) != 1 || c.HTTPCookie != nil && c.HTTPCookie.Name == "" {
		n.refuse(reasonInvalid, path, "exactly one of httpHeaderName, httpCookie (with a name), useSourceIp and httpQueryParameterName is needed; the load balancer is the default one")
		out.Kind = ""
		return
	}
	out.Hash = &keys[0]
	if c.MinimumRingSize != nil {
		out.RingMinimum = ring(*c.MinimumRingSize, path+".minimumRingSize", n)
	}
	if c.RingHash != nil && c.RingHash.MinimumRingSize != nil {
		out.RingMinimum = ring(*c.RingHash.MinimumRingSize, path+".ringHash.minimumRingSize", n)
	}
	if c.Maglev == nil {
		return
	}
	if c.RingHash != nil {
		n.refuse(reasonInvalid, path+".ringHash", "ringHash and maglev exclude each other; maglev is used")
	}
	out.Kind, out.RingMinimum = model.LBMaglev, 0
	if s := c.Maglev.TableSize; s != nil && *s != 0 {
		if *s < 2 || *s > maxMaglev || !big.NewInt(*s).ProbablyPrime(10) {
			n.refuse(reasonInvalid, path+".maglev.tableSize", "%d is no prime up to %d; the default 65537 is used", *s, maxMaglev)
			return
		}
		out.MaglevTable = uint64(*s)
	}
}

func ring(size int64, path string, n *notes) uint64 {
	if size < 0 || size > maxRing {
		n.refuse(reasonInvalid, path, "must be from 0 to %d; the default 1024 is used", maxRing)
		return 0
	}
	return uint64(size)
}

func warmup(s *v1alpha1.LoadBalancerSettings, path string, n *notes) *model.Warmup {
	if s.Warmup == nil {
		if d := n.span(s.WarmupDurationSecs, time.Millisecond, path+".warmupDurationSecs"); d != nil {
			return &model.Warmup{Duration: *d, MinimumPercent: 10}
		}
		return nil
	}
	at := path + ".warmup"
	if s.WarmupDurationSecs != "" {
		n.warn(reasonConflict, path+".warmupDurationSecs", "it is the older form of warmup, which is used")
	}
	d := n.span(s.Warmup.Duration, time.Millisecond, at+".duration")
	if d == nil {
		if s.Warmup.Duration == "" {
			n.refuse(reasonInvalid, at+".duration", "a duration is needed")
		}
		return nil
	}
	out := &model.Warmup{Duration: *d, MinimumPercent: 10}
	if m := s.Warmup.MinimumPercent; m != nil {
		if *m < 0 || *m > 100 {
			n.refuse(reasonInvalid, at+".minimumPercent", "must be from 0 to 100; the default 10 is used")
		} else {
			out.MinimumPercent = uint32(*m + 0.5)
		}
	}
	if a := s.Warmup.Aggression; a != nil {
		if *a <= 0 {
			n.refuse(reasonInvalid, at+".aggression", "must be above 0; the default 1 is used")
		} else {
			out.Aggression = *a
		}
	}
	return out
}

func locality(s *v1alpha1.LocalityLoadBalancerSetting, path string, n *notes) *model.LocalityLB {
	out := &model.LocalityLB{Enabled: s.Enabled == nil || *s.Enabled}
	if len(s.Distribute) > 0 && len(s.Failover)+len(s.FailoverPriority) > 0 {
		n.refuse(reasonInvalid, path, "distribute excludes failover and failoverPriority; distribute is used")
	}
	for i, d := range s.Distribute {
		if to := shares(d, indexed(path+".distribute", i), n); to != nil {
			out.Distribute = append(out.Distribute, model.LocalityDistribute{From: d.From, To: to})
		}
	}
	if len(out.Distribute) > 0 {
		return out
	}
	for i, f := range s.Failover {
		at := indexed(path+".failover", i)
		if f.From == "" || f.To == "" || f.From == f.To {
			n.refuse(reasonInvalid, at, "from and to must be two regions")
			continue
		}
		if strings.ContainsAny(f.From+f.To, "/*") {
			n.refuse(reasonInvalid, at, "failover is between regions; write them without a zone or a wildcard")
			continue
		}
		if out.Failover == nil {
			out.Failover = map[string]string{}
		}
		out.Failover[f.From] = f.To
	}
	for i, p := range s.FailoverPriority {
		at := indexed(path+".failoverPriority", i)
		k, _, given := cutLabel(p)
		if k == "" || !given && !slices.Contains(localityLabels(), k) {
			n.warn(reasonUnsupported, at, "clients are known by region, zone and subzone only; write key=value for other labels, or one of %s; it and what follows it have no effect", strings.Join(localityLabels(), ", "))
			break
		}
		out.FailoverPriority = append(out.FailoverPriority, p)
	}
	return out
}

// shares reads the percentages of one distribution, or gives nil.
func shares(d v1alpha1.LocalityDistribute, path string, n *notes) map[string]uint32 {
	to, sum := map[string]uint32{}, int32(0)
	for _, l := range sortedKeys(d.To) {
		p := d.To[l]
		if p < 1 || p > 100 {
			n.refuse(reasonInvalid, path+".to["+l+"]", "a share is a percentage from 1 to 100; the distribution has no effect")
			return nil
		}
		to[l] = uint32(p)
		sum += p
	}
	if sum != 100 || d.From == "" {
		n.refuse(reasonInvalid, path, "from is needed, and the shares in to must sum to 100, not %d; the distribution has no effect", sum)
		return nil
	}
	return to
}

// cutLabel splits "key=value"; given tells that there is a value.
func cutLabel(s string) (key, value string, given bool) { return strings.Cut(s, "=") }

// localityLabels are the label keys that stand for an endpoint's locality.
func localityLabels() []string {
	return []string{model.RegionLabel, model.ZoneLabel, model.SubZoneLabel}
}
