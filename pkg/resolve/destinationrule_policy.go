package resolve

import (
	"time"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// trafficPolicy makes the model of a policy that was inherited and narrowed to one port. What cannot be obeyed is left out:
// checkPolicy names it.
func trafficPolicy(tp *v1alpha1.TrafficPolicy, creds map[string]credential) model.TrafficPolicy {
	var out model.TrafficPolicy
	if tp == nil {
		return out
	}
	out.LB = loadBalancer(tp.LoadBalancer, "", nil)
	out.Pool = connectionPool(tp.ConnectionPool, "", nil)
	out.Outlier = outlier(tp.OutlierDetection, "", nil)
	out.RetryBudget = retryBudget(tp.RetryBudget, "", nil)
	if tp.TLS != nil {
		out.TLS, out.Refused, _ = upstreamTLS(tp.TLS, creds)
	}
	if tp.Tunnel != nil {
		out.Refused = noTunnel
	}
	if tp.ProxyProtocol != nil {
		out.PROXY, out.Refused = proxyVersion(tp.ProxyProtocol, out.Refused)
	}
	return out
}

const noTunnel = "tunnels are not supported; nothing is sent to the host, as it would reach the proxy outside of any tunnel"

// proxyVersion reads proxyProtocol; what it does not know would let a server trust a wrong address.
func proxyVersion(p *v1alpha1.ProxyProtocol, refused string) (int, string) {
	switch p.Version {
	case "", "V1":
		return 1, refused
	case "V2":
		return 2, refused
	}
	return 0, "the PROXY protocol has versions V1 and V2; nothing is sent to the host"
}

// checkPolicy names every field of a policy that is wrong or not obeyed.
func checkPolicy(tp *v1alpha1.TrafficPolicy, path string, creds map[string]credential, n *notes) {
	if tp == nil {
		return
	}
	checkParts(&v1alpha1.PortTrafficPolicy{
		LoadBalancer: tp.LoadBalancer, ConnectionPool: tp.ConnectionPool, OutlierDetection: tp.OutlierDetection, TLS: tp.TLS,
	}, path, creds, n)
	retryBudget(tp.RetryBudget, path+".retryBudget", n)
	if tp.Tunnel != nil {
		n.refuse(reasonUnsupported, path+".tunnel", noTunnel)
	}
	if tp.ProxyProtocol != nil {
		if _, refused := proxyVersion(tp.ProxyProtocol, ""); refused != "" {
			n.refuse(reasonInvalid, path+".proxyProtocol.version", "%s", refused)
		}
	}
	seen := map[int32]bool{}
	for i := range tp.PortLevelSettings {
		s, at := &tp.PortLevelSettings[i], indexed(path+".portLevelSettings", i)
		switch {
		case s.Port == nil || s.Port.Number < 1 || s.Port.Number > 65535:
			n.refuse(reasonInvalid, at+".port.number", "a port from 1 to 65535 is needed; the settings have no effect")
		case seen[s.Port.Number]:
			n.refuse(reasonConflict, at+".port.number", "there are settings for the port %d above; these have no effect", s.Port.Number)
		default:
			seen[s.Port.Number] = true
		}
		checkParts(s, at, creds, n)
	}
}

func checkParts(s *v1alpha1.PortTrafficPolicy, path string, creds map[string]credential, n *notes) {
	lb := loadBalancer(s.LoadBalancer, path+".loadBalancer", n)
	connectionPool(s.ConnectionPool, path+".connectionPool", n)
	outlier(s.OutlierDetection, path+".outlierDetection", n)
	if l := lb.Locality; l != nil && l.Enabled && len(l.Failover)+len(l.FailoverPriority) > 0 && s.OutlierDetection == nil {
		n.warn(reasonInvalid, path+".loadBalancer.localityLbSetting", "failover needs outlierDetection beside it, which finds out that endpoints fail; without, it has no effect")
	}
	if s.TLS == nil {
		return
	}
	at := path + ".tls"
	if _, refused, field := upstreamTLS(s.TLS, creds); refused != "" {
		reason := reasonInvalid
		switch {
		case refused == noMeshIdentity:
			reason = reasonUnsupported
		case field == ".credentialName":
			reason = reasonUnresolved
		}
		n.refuse(reason, at+field, "%s", refused)
	}
	if s.TLS.InsecureSkipVerify != nil && *s.TLS.InsecureSkipVerify && len(s.TLS.SubjectAltNames) > 0 {
		n.warn(reasonInvalid, at+".subjectAltNames", "insecureSkipVerify accepts any certificate; the names are not checked")
	}
}

// span reads a duration; nil when it is absent, wrong or below least.
func (n *notes) span(d v1alpha1.Duration, least time.Duration, path string) *time.Duration {
	if d == "" {
		return nil
	}
	v, err := d.Parse()
	if err != nil {
		n.refuse(reasonInvalid, path, "%v", err)
		return nil
	}
	if v < least {
		n.refuse(reasonInvalid, path, "must be at least %s", least)
		return nil
	}
	return &v
}

// count reads a limit; absent and 0 are no limit, where zero is not set.
func (n *notes) count(v *int32, zero bool, path string) *uint32 {
	if v == nil || *v == 0 && !zero {
		return nil
	}
	if *v < 0 {
		n.refuse(reasonInvalid, path, "must not be negative")
		return nil
	}
	u := uint32(*v)
	return &u
}

func connectionPool(c *v1alpha1.ConnectionPoolSettings, path string, n *notes) model.ConnectionPool {
	var out model.ConnectionPool
	if c == nil {
		return out
	}
	if t := c.TCP; t != nil {
		at := path + ".tcp"
		out.MaxConnections = n.count(t.MaxConnections, false, at+".maxConnections")
		out.ConnectTimeout = n.span(t.ConnectTimeout, time.Millisecond, at+".connectTimeout")
		out.MaxDuration = n.span(t.MaxConnectionDuration, time.Millisecond, at+".maxConnectionDuration")
		out.TCPIdleTimeout = n.span(t.IdleTimeout, 0, at+".idleTimeout")
		if k := t.TCPKeepalive; k != nil {
			out.Keepalive = &model.Keepalive{}
			if p := n.count(k.Probes, false, at+".tcpKeepalive.probes"); p != nil {
				out.Keepalive.Probes = *p
			}
			out.Keepalive.Time = value(n.span(k.Time, time.Millisecond, at+".tcpKeepalive.time"))
			out.Keepalive.Interval = value(n.span(k.Interval, time.Millisecond, at+".tcpKeepalive.interval"))
		}
	}
	if h := c.HTTP; h != nil {
		httpPool(&out, h, path+".http", n)
	}
	return out
}

func httpPool(out *model.ConnectionPool, h *v1alpha1.HTTPSettings, at string, n *notes) {
	out.MaxPending = n.count(h.HTTP1MaxPendingRequests, false, at+".http1MaxPendingRequests")
	out.MaxRequests = n.count(h.HTTP2MaxRequests, false, at+".http2MaxRequests")
	out.MaxRequestsPerConnection = n.count(h.MaxRequestsPerConnection, false, at+".maxRequestsPerConnection")
	out.MaxRetries = n.count(h.MaxRetries, false, at+".maxRetries")
	out.MaxConcurrentStreams = n.count(h.MaxConcurrentStreams, false, at+".maxConcurrentStreams")
	out.IdleTimeout = n.span(h.IdleTimeout, 0, at+".idleTimeout")
	out.UseClientProtocol = h.UseClientProtocol
	switch h.H2UpgradePolicy {
	case "", v1alpha1.H2UpgradeDefault:
	case v1alpha1.H2UpgradeAlways, v1alpha1.H2UpgradeNever:
		upgrade := h.H2UpgradePolicy == v1alpha1.H2UpgradeAlways
		out.H2Upgrade = &upgrade
		if upgrade && h.UseClientProtocol {
			n.warn(reasonConflict, at+".useClientProtocol", "h2UpgradePolicy UPGRADE decides the protocol; useClientProtocol has no effect")
			out.UseClientProtocol = false
		}
	default:
		n.refuse(reasonInvalid, at+".h2UpgradePolicy", "%q is not one of DEFAULT, DO_NOT_UPGRADE, UPGRADE", h.H2UpgradePolicy)
	}
	if k := h.HTTP2KeepAlive; k != nil {
		interval := n.span(k.Interval, time.Millisecond, at+".http2KeepAlive.interval")
		timeout := n.span(k.Timeout, time.Millisecond, at+".http2KeepAlive.timeout")
		if interval == nil {
			n.warn(reasonInvalid, at+".http2KeepAlive.interval", "PING frames need an interval; without, none are sent")
			return
		}
		out.HTTP2Keepalive = &model.HTTP2Keepalive{Interval: *interval, Timeout: value(timeout)}
	}
}

func value(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}

func retryBudget(b *v1alpha1.RetryBudget, path string, n *notes) *model.RetryBudget {
	if b == nil {
		return nil
	}
	out := &model.RetryBudget{Percent: 20, MinConcurrency: 3, Interval: value(n.span(b.BudgetInterval, 0, path+".budgetInterval"))}
	if b.Percent != nil {
		if *b.Percent < 0 || *b.Percent > 100 {
			n.refuse(reasonInvalid, path+".percent", "must be from 0 to 100")
		} else {
			out.Percent = *b.Percent
		}
	}
	if m := n.count(b.MinRetryConcurrency, true, path+".minRetryConcurrency"); m != nil {
		out.MinConcurrency = *m
	}
	return out
}

func outlier(o *v1alpha1.OutlierDetection, path string, n *notes) *model.Outlier {
	if o == nil {
		return nil
	}
	out := &model.Outlier{SplitLocal: o.SplitExternalLocalOriginErrors}
	out.ConsecutiveGateway = n.count(o.ConsecutiveErrors, true, path+".consecutiveErrors")
	if g := n.count(o.ConsecutiveGatewayErrors, true, path+".consecutiveGatewayErrors"); g != nil {
		out.ConsecutiveGateway = g
	}
	out.Consecutive5xx = n.count(o.Consecutive5xxErrors, true, path+".consecutive5xxErrors")
	out.ConsecutiveLocal = n.count(o.ConsecutiveLocalOriginFailures, true, path+".consecutiveLocalOriginFailures")
	if out.ConsecutiveLocal != nil && !out.SplitLocal {
		n.warn(reasonInvalid, path+".consecutiveLocalOriginFailures", "it has an effect with splitExternalLocalOriginErrors: true only")
	}
	out.Interval = value(n.span(o.Interval, time.Millisecond, path+".interval"))
	out.BaseEjection = value(n.span(o.BaseEjectionTime, time.Millisecond, path+".baseEjectionTime"))
	out.MaxEjectionPercent = n.percent(o.MaxEjectionPercent, path+".maxEjectionPercent")
	if m := n.percent(o.MinHealthPercent, path+".minHealthPercent"); m != nil {
		out.MinHealthPercent = *m
	}
	for i, c := range o.OutlierDetectionHTTPErrorCodes {
		if c < 100 || c > 599 {
			n.refuse(reasonInvalid, indexed(path+".outlierDetectionHttpErrorCodes", i), "%d is no HTTP status", c)
			continue
		}
		out.ErrorCodes = append(out.ErrorCodes, uint32(c))
	}
	return out
}

func (n *notes) percent(v *int32, path string) *uint32 {
	if v != nil && *v > 100 {
		n.refuse(reasonInvalid, path, "must be from 0 to 100")
		return nil
	}
	return n.count(v, true, path)
}
