package resolve

import (
	"cmp"
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
	o.claims = table.NewIndex(o.Frontends, "names of http frontends", func(_ string, f *model.Frontend) []string {
		if !f.Protocol.IsHTTP() || (len(f.Addresses) > 0 && !o.cfg.HostTable) {
			return nil
		}
		var keys []string
		for _, name := range o.spellings(f) {
			keys = append(keys, name, name+":"+strconv.Itoa(int(f.ID.Port)))
		}
		return keys
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
		f := preferred(table.List(r, all, key))
		if f == nil {
			return nil, false
		}
		return o.named(r, f)
	}
	o.Named = table.NewDerived(e, "named hosts", fn, []table.Trigger{all, foreign})
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
	if table.Any(r, o.hosts.ByName, host) || table.Any(r, o.claims, host) {
		return nil, false // its frontends carry the routes
	}
	routes, _ := o.meshRoutes(r, host)
	if len(routes) == 0 {
		return nil, false
	}
	return &model.VirtualHost{
		Config: model.HostTable, Host: host + ":0", Domains: withAnyPort(host), Routes: routes, Origins: origins(routes),
		Audience: audienceOf(o.meshBindings(r, host)),
	}, true
}

// withAnyPort are the domains of a host name whose ports nobody declares. A wildcard cannot have one at both ends, so that
// under one only port 80 may be written out.
func withAnyPort(host string) []string {
	if strings.HasPrefix(host, "*") {
		return []string{host, host + ":80"}
	}
	return []string{host, host + ":*"}
}

// named is a frontend under the names that its clients may call it by. Envoy refuses a table in which two hosts have one
// name, so that each name is the preferred one's.
func (o *Outbound) named(r *table.Reader, f *model.Frontend) (*model.VirtualHost, bool) {
	v := *f.HTTP
	port := ":" + strconv.Itoa(int(f.ID.Port))
	v.Config, v.Host, v.Audience = model.HostTable, f.ID.Host+port, f.Audience
	v.Domains = nil
	for _, name := range o.spellings(f) {
		for _, d := range []string{name + port, name} {
			if preferred(table.List(r, o.claims, d)) == f {
				v.Domains = append(v.Domains, d)
			}
		}
	}
	return &v, len(v.Domains) > 0
}

// preferred is the one of several frontends that a name means: Services before ServiceEntries, port 80, the lowest port.
// Nil when there is none.
func preferred(claims []table.Entry[*model.Frontend]) *model.Frontend {
	var best *model.Frontend
	for _, c := range claims {
		if best == nil || compareClaims(c.Value, best) < 0 {
			best = c.Value
		}
	}
	return best
}

func compareClaims(a, b *model.Frontend) int {
	rank := func(f *model.Frontend) int {
		n := int(f.ID.Port)
		if n == 80 {
			n = 0
		}
		if f.Origins[0].Kind != "Service" {
			n += 1 << 16
		}
		return n
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
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
