package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/admin"
)

// printers make the rows of one resource of a kind, under a head. A resource that is gone gives no row of its own.
var printers = map[string]struct {
	head []string
	rows func(s *admin.Served) [][]string
}{
	"clusters":  {[]string{"NAME", "TYPE", "LB", "STATE", "FROM"}, clusterRows},
	"endpoints": {[]string{"CLUSTER", "ADDRESS", "HEALTH", "WEIGHT", "PRIORITY", "LOCALITY", "STATE"}, endpointRows},
	"listeners": {[]string{"NAME", "ADDRESS", "CHAINS", "STATE", "FROM"}, listenerRows},
	"peers":     {[]string{"NAME", "WHO", "ADDRESSES", "IDENTITIES", "STATE"}, peerRows},
	"routes":    {[]string{"TABLE", "DOMAINS", "MATCH", "ACTION", "STATE"}, routeRows},
	"scopes":    {[]string{"NAME", "KEY", "TABLE", "STATE"}, scopeRows},
	"secrets":   {[]string{"NAME", "KIND", "SUBJECT", "NOT AFTER", "STATE"}, secretRows},
	"trust":     {[]string{"TRUST DOMAIN", "SEQUENCE", "JWT KEYS", "ROOT", "NOT AFTER", "STATE"}, trustRows},
	"verdicts":  {[]string{"IDENTITY", "OF", "DOES", "PEERS", "PORTS", "FROM", "STATE"}, verdictRows},
	"workloads": {[]string{"UID", "POD", "ADDRESSES", "IDENTITY", "STATE"}, workloadRows},
}

func configTable(w io.Writer, c admin.NodeConfig) error {
	if len(c.Resources) == 0 {
		_, err := fmt.Fprintf(w, "node %s has no %s\n", c.Node, c.Kind)
		return err
	}
	p := printers[c.Kind]
	var rows [][]string
	for i := range c.Resources {
		rows = append(rows, p.rows(&c.Resources[i])...)
	}
	return columns(w, p.head, rows)
}

func servedState(s *admin.Served) string {
	switch {
	case s.Stub:
		return "DENY STUB"
	case s.Newer != "":
		return "OLDER"
	case !s.Acked:
		return "SENT"
	}
	return "ACKED"
}

// read decodes the part of a resource that a printer shows; a resource that is gone is empty.
func read[T any](s *admin.Served) (out T) {
	_ = json.Unmarshal(s.Resource, &out)
	return out
}

func from(s *admin.Served) string { return strings.Join(s.Origins, ", ") }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type address struct {
	Socket *struct {
		Address string `json:"address"`
		Port    int    `json:"port_value"`
	} `json:"socket_address"`
	Pipe *struct {
		Path string `json:"path"`
	} `json:"pipe"`
	Internal *struct {
		Name string `json:"server_listener_name"`
	} `json:"envoy_internal_address"`
}

func (a address) String() string {
	switch {
	case a.Socket != nil && strings.Contains(a.Socket.Address, ":"):
		return "[" + a.Socket.Address + "]:" + strconv.Itoa(a.Socket.Port)
	case a.Socket != nil:
		return a.Socket.Address + ":" + strconv.Itoa(a.Socket.Port)
	case a.Pipe != nil:
		return "unix:" + a.Pipe.Path
	case a.Internal != nil:
		return "internal:" + a.Internal.Name
	}
	return "-"
}

func clusterRows(s *admin.Served) [][]string {
	c := read[struct {
		Type   string `json:"type"`
		Policy string `json:"lb_policy"`
	}](s)
	if c.Type == "" {
		c.Type = "STATIC"
	}
	if c.Policy == "" {
		c.Policy = "ROUND_ROBIN"
	}
	return [][]string{{s.Name, c.Type, c.Policy, servedState(s), orDash(from(s))}}
}

func endpointRows(s *admin.Served) (rows [][]string) {
	a := read[struct {
		Groups []struct {
			Locality struct{ Region, Zone string }
			Priority int
			Items    []struct {
				Endpoint struct {
					Address address `json:"address"`
				} `json:"endpoint"`
				Health string `json:"health_status"`
				Weight int    `json:"load_balancing_weight"`
			} `json:"lb_endpoints"`
		} `json:"endpoints"`
	}](s)
	for _, g := range a.Groups {
		locality := strings.Trim(g.Locality.Region+"/"+g.Locality.Zone, "/")
		for _, e := range g.Items {
			if e.Health == "" {
				e.Health = "UNKNOWN"
			}
			rows = append(rows, []string{s.Name, e.Endpoint.Address.String(), e.Health, strconv.Itoa(max(1, e.Weight)), strconv.Itoa(g.Priority), orDash(locality), servedState(s)})
		}
	}
	if rows == nil {
		rows = [][]string{{s.Name, "(none)", "-", "-", "-", "-", servedState(s)}}
	}
	return rows
}

func listenerRows(s *admin.Served) [][]string {
	l := read[struct {
		Address  address           `json:"address"`
		Internal *struct{}         `json:"internal_listener"`
		Chains   []json.RawMessage `json:"filter_chains"`
		Default  *json.RawMessage  `json:"default_filter_chain"`
	}](s)
	where := l.Address.String()
	if l.Internal != nil {
		where = "(internal)"
	}
	chains := len(l.Chains)
	if l.Default != nil {
		chains++
	}
	return [][]string{{s.Name, where, strconv.Itoa(chains), servedState(s), orDash(from(s))}}
}

func scopeRows(s *admin.Served) [][]string {
	sc := read[struct {
		Table string `json:"route_configuration_name"`
		Key   struct {
			Fragments []struct {
				Key string `json:"string_key"`
			} `json:"fragments"`
		} `json:"key"`
	}](s)
	var key []string
	for _, f := range sc.Key.Fragments {
		key = append(key, f.Key)
	}
	return [][]string{{s.Name, strings.Join(key, " "), sc.Table, servedState(s)}}
}

func secretRows(s *admin.Served) [][]string {
	type source struct {
		Bytes string `json:"inline_bytes"`
	}
	v := read[struct {
		Cert *struct {
			Chain source `json:"certificate_chain"`
		} `json:"tls_certificate"`
		CA *struct {
			Bundle source `json:"trusted_ca"`
		} `json:"validation_context"`
	}](s)
	kind, data := "-", ""
	switch {
	case v.Cert != nil:
		kind, data = "certificate", v.Cert.Chain.Bytes
	case v.CA != nil:
		kind, data = "CA bundle", v.CA.Bundle.Bytes
	}
	subject, until := "-", "-"
	text, _ := base64.StdEncoding.DecodeString(data)
	if block, _ := pem.Decode(text); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			subject, until = orDash(cert.Subject.String()), cert.NotAfter.UTC().Format("2006-01-02 15:04 UTC")
			if len(cert.DNSNames) > 0 {
				subject += " (" + strings.Join(cert.DNSNames, ", ") + ")"
			}
		}
	}
	return [][]string{{s.Name, kind, subject, until, servedState(s)}}
}
