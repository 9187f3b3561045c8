package resolve

import (
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// declareNamed declares the virtual hosts of the table that is searched by :authority: hosts that have no address, host
// names that only a VirtualService knows, and in files mode every HTTP host.
func (o *Outbound) declareNamed(e *table.Engine) {
	all := table.NewIndex(o.Frontends, "http frontends by name", func(_ string, f *model.Frontend) []string {
		if !f.Protocol.IsHTTP() || (len(f.Addresses) > 0 && !o.cfg.HostTable) {
			return nil
		}
		return []string{f.ID.Host + ":" + strconv.Itoa(int(f.ID.Port))}
	})
	// A VirtualService may route names that are no host of the registry; they are found under port 0.
	foreign := table.NewIndex(o.http.Table, "mesh virtual hosts", func(_ string, v *model.VirtualHost) []string {
		if v.Config != MeshConfig {
			return nil
		}
		return []string{v.Host + ":0"}
	})
	fn := func(r *table.Reader, key string) (*model.VirtualHost, bool) {
		host, port, _ := cutPort(key)
		if port == 0 {
			return o.foreign(r, host)
		}
		fs := table.List(r, all, key)
		if len(fs) == 0 {
			return nil, false
		}
		return o.named(r, fs[0].Value), true
	}
	o.Named = table.NewDerived(e, "named hosts", fn, []table.Trigger{all, foreign})
	o.NamedAll = table.NewIndex(o.Named, "named hosts, all", func(string, *model.VirtualHost) []string { return []string{"all"} })
}

// cutPort splits "host:port" at the last colon.
func cutPort(key string) (host string, port uint16, ok bool) {
	i := strings.LastIndexByte(key, ':')
	if i < 0 {
		return key, 0, false
	}
	n, err := strconv.ParseUint(key[i+1:], 10, 16)
	return key[:i], uint16(n), err == nil
}

// foreign is a host name that only VirtualServices know.
func (o *Outbound) foreign(r *table.Reader, host string) (*model.VirtualHost, bool) {
	if table.Any(r, o.hosts.ByName, host) {
		return nil, false // its frontends carry the routes
	}
	routes, _ := o.meshRoutes(r, host)
	if len(routes) == 0 {
		return nil, false
	}
	return &model.VirtualHost{Config: model.HostTable, Host: host + ":0", Domains: withAnyPort(host), Routes: routes, Origins: origins(routes)}, true
}

func withAnyPort(host string) []string {
	if host == "*" || strings.HasPrefix(host, "*.") {
		return []string{host}
	}
	return []string{host, host + ":*"}
}

// named is a frontend under the names that its clients may call it by. Without a port, the name means port 80, or the
// lowest HTTP port of the host.
func (o *Outbound) named(r *table.Reader, f *model.Frontend) *model.VirtualHost {
	v := *f.HTTP
	v.Config, v.Host = model.HostTable, f.ID.Host+":"+strconv.Itoa(int(f.ID.Port))
	v.Domains = nil
	for _, name := range o.spellings(f) {
		v.Domains = append(v.Domains, name+":"+strconv.Itoa(int(f.ID.Port)))
		if o.isDefaultPort(r, f) {
			v.Domains = append(v.Domains, name)
		}
	}
	return &v
}

// spellings are the names of a Service as its own DNS has them; the bare name only for the namespace of the first stub.
func (o *Outbound) spellings(f *model.Frontend) []string {
	names := []string{f.ID.Host}
	if f.Origins[0].Kind != "Service" {
		return names
	}
	short := f.Origins[0].Name
	names = append(names, short+"."+f.ID.Namespace, short+"."+f.ID.Namespace+".svc")
	if len(o.cfg.Stubs) > 0 && o.cfg.Stubs[0].Namespace == f.ID.Namespace {
		names = append(names, short)
	}
	return names
}

// isDefaultPort tells whether the host name without a port means this frontend.
func (o *Outbound) isDefaultPort(r *table.Reader, f *model.Frontend) bool {
	h, ok := table.Get(r, o.hosts.Table, f.ID.HostKey())
	if !ok {
		return false
	}
	best := uint16(0)
	for _, p := range h.Ports {
		if p.Protocol.IsHTTP() && (best == 0 || p.Number == 80 || (best != 80 && p.Number < best)) {
			best = p.Number
		}
	}
	return best == f.ID.Port
}
