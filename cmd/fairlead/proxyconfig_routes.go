package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/admin"
)

// routeView is the part of a route that a line shows.
type routeView struct {
	Match struct {
		Prefix    string                  `json:"prefix"`
		Path      string                  `json:"path"`
		Separated string                  `json:"path_separated_prefix"`
		Regex     *struct{ Regex string } `json:"safe_regex"`
		Headers   []struct{ Name string } `json:"headers"`
		Query     []struct{ Name string } `json:"query_parameters"`
		State     []struct{ Key string }  `json:"filter_state"`
		Fraction  *json.RawMessage        `json:"runtime_fraction"`
	} `json:"match"`
	Forward *struct {
		Cluster  string `json:"cluster"`
		Weighted *struct {
			Clusters []struct {
				Name   string `json:"name"`
				Weight int    `json:"weight"`
			} `json:"clusters"`
		} `json:"weighted_clusters"`
	} `json:"route"`
	Redirect *json.RawMessage `json:"redirect"`
	Direct   *struct {
		Status int `json:"status"`
	} `json:"direct_response"`
}

// hostView is the part of a virtual host that its lines show.
type hostView struct {
	Domains []string    `json:"domains"`
	Routes  []routeView `json:"routes"`
}

func routeRows(s *admin.Served) (rows [][]string) {
	t := read[struct {
		Hosts []hostView       `json:"virtual_hosts"`
		VHDS  *json.RawMessage `json:"vhds"`
	}](s)
	switch {
	case s.Type == "VirtualHost":
		t.Hosts = []hostView{read[hostView](s)}
	case t.VHDS != nil && len(t.Hosts) == 0:
		return [][]string{{s.Name, "(one by one, below)", "-", "-", servedState(s)}}
	}
	for _, h := range t.Hosts {
		for _, r := range h.Routes {
			rows = append(rows, []string{s.Name, short(h.Domains), r.match(), r.action(), servedState(s)})
		}
		if len(h.Routes) == 0 {
			rows = append(rows, []string{s.Name, short(h.Domains), "-", "404", servedState(s)})
		}
	}
	if rows == nil {
		rows = [][]string{{s.Name, "-", "-", "404", servedState(s)}}
	}
	return rows
}

// short names the first two domains and counts the others.
func short(domains []string) string {
	if len(domains) > 2 {
		return strings.Join(domains[:2], ",") + " +" + strconv.Itoa(len(domains)-2)
	}
	return strings.Join(domains, ",")
}

func (r *routeView) match() string {
	m := r.Match
	var parts []string
	switch {
	case m.Path != "":
		parts = append(parts, "= "+m.Path)
	case m.Separated != "":
		parts = append(parts, m.Separated+"[/*]")
	case m.Regex != nil:
		parts = append(parts, "~ "+m.Regex.Regex)
	default:
		parts = append(parts, m.Prefix+"*")
	}
	names := map[string]bool{}
	for _, h := range m.Headers {
		names["header "+h.Name] = true
	}
	for _, q := range m.Query {
		names["query "+q.Name] = true
	}
	for _, f := range m.State {
		names[strings.TrimPrefix(f.Key, "fairlead.")] = true
	}
	if m.Fraction != nil {
		names["fraction"] = true
	}
	return strings.Join(append(parts, slices.Sorted(maps.Keys(names))...), ", ")
}

func (r *routeView) action() string {
	switch {
	case r.Redirect != nil:
		return "redirect"
	case r.Direct != nil:
		return "answer " + strconv.Itoa(r.Direct.Status)
	case r.Forward == nil:
		return "-"
	case r.Forward.Weighted != nil:
		var parts []string
		for _, c := range r.Forward.Weighted.Clusters {
			parts = append(parts, fmt.Sprintf("%s:%d", c.Name, c.Weight))
		}
		return strings.Join(parts, " ")
	}
	return r.Forward.Cluster
}
