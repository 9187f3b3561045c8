package resolve

import (
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// FQDN completes the name of a host as an object of a namespace means it: a name without a dot is a Service of that
// namespace. Names with dots are left as they are, but for their case and a final dot.
func FQDN(cfg Config, name, namespace string) string {
	name = plainHost(name)
	if name == "" || name == "*" || strings.Contains(name, ".") {
		return name
	}
	return serviceHost(cfg, namespace, name)
}

// FQDN is the function FQDN that knows the Services: "reviews.prod" and "reviews.prod.svc" are completed when there is
// such a Service.
func (h *Hosts) FQDN(r *table.Reader, name, namespace string) string {
	full := FQDN(h.cfg, name, namespace)
	if service, ok := shortService(full); ok && table.Any(r, h.ByService, service) {
		ns, n := model.SplitKey(service)
		return serviceHost(h.cfg, ns, n)
	}
	return full
}

// serviceHost is the name of a Service in the cluster's DNS.
func serviceHost(cfg Config, namespace, name string) string {
	return name + "." + namespace + ".svc." + cfg.ClusterDomain
}

// plainHost is a host name in lower case without the final dot.
func plainHost(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// shortService gives the key of the Service that "name.namespace" or "name.namespace.svc" may mean.
func shortService(host string) (key string, ok bool) {
	name, rest, ok := strings.Cut(host, ".")
	if !ok || name == "*" {
		return "", false
	}
	namespace := strings.TrimSuffix(rest, ".svc")
	if namespace == "" || strings.Contains(namespace, ".") {
		return "", false
	}
	return model.Key(namespace, name), true
}

// fullNames are all the names that a host name may mean before the Services are known.
func fullNames(cfg Config, name, namespace string) []string {
	full := FQDN(cfg, name, namespace)
	if service, ok := shortService(full); ok {
		ns, n := model.SplitKey(service)
		return []string{full, serviceHost(cfg, ns, n)}
	}
	return []string{full}
}

// portProtocol is what a port speaks: its appProtocol, then the prefix of its name, then TCP (Kubernetes and Istio,
// "Protocol Selection"). An appProtocol that is not known leaves it to the name.
func portProtocol(appProtocol, name string) model.Protocol {
	if p, ok := protocolNamed(appProtocol); ok {
		return p
	}
	if p, ok := protocolNamed(name); ok {
		return p
	}
	for prefix := strings.ToLower(name); ; {
		i := strings.LastIndexByte(prefix, '-')
		if i < 0 {
			return model.ProtoTCP
		}
		prefix = prefix[:i]
		if p, ok := protocolNamed(prefix); ok {
			return p
		}
	}
}

// protocolNamed reads one protocol name, in any case.
func protocolNamed(s string) (model.Protocol, bool) {
	switch strings.ToLower(s) {
	case "http", "http_proxy", "kubernetes.io/ws":
		return model.ProtoHTTP, true
	case "http2", "h2c", "kubernetes.io/h2c", "grpc-web":
		return model.ProtoHTTP2, true
	case "grpc":
		return model.ProtoGRPC, true
	case "https", "kubernetes.io/wss":
		return model.ProtoHTTPS, true
	case "tls":
		return model.ProtoTLS, true
	case "tcp", "mongo", "mysql", "redis":
		return model.ProtoTCP, true
	case "udp":
		return model.ProtoUDP, true
	}
	return "", false
}

// visible tells whether a namespace is among those that an object is exported to.
func visible(exportTo []string, namespace string) bool {
	if len(exportTo) == 0 {
		return true
	}
	for _, e := range exportTo {
		if e == "*" || e == namespace {
			return true
		}
	}
	return false
}

// exports resolves "." of an exportTo list.
func exports(exportTo []string, namespace string) []string {
	var out []string
	for _, e := range exportTo {
		switch e = strings.TrimSpace(e); e {
		case "*":
			return nil
		case ".":
			e = namespace
		case "":
			continue
		}
		out = append(out, e)
	}
	return out
}
