package model

import (
	"slices"
	"strings"
)

// Audience says which clients need a resource: those that see at least one of its hosts. A nil one is everyone.
type Audience struct {
	// AnyOf is sorted by namespace and host, each once.
	AnyOf []Reach
}

// Reach is a host by which clients come to need a resource.
type Reach struct {
	// Namespace is where the host is defined, Host its name, possibly a wildcard ("*.example.com", "*").
	Namespace, Host string
	// ExportTo lists the namespaces that may see it; empty or "*" means all.
	ExportTo []string
}

// Equal tells whether two audiences are the same.
func (a *Audience) Equal(b *Audience) bool {
	if a == b || a == nil || b == nil {
		return a == b
	}
	return slices.EqualFunc(a.AnyOf, b.AnyOf, func(x, y Reach) bool {
		return x.Namespace == y.Namespace && x.Host == y.Host && slices.Equal(x.ExportTo, y.ExportTo)
	})
}

// NodeScope is what the pods of one node can reach. A nil one sees everything, one without groups only what is for everyone.
type NodeScope struct {
	// Groups are the pods that see the same, by namespace; sorted, each once.
	Groups []ScopeGroup
}

// ScopeGroup are pods of one namespace that see the same.
type ScopeGroup struct {
	Namespace string
	// Hosts limit what they see (Sidecar, egress.hosts); nil means all that is exported to the namespace.
	Hosts *ScopeHosts
}

// ScopeHosts are the hosts that a Sidecar lets its pods see; without any, none.
type ScopeHosts struct{ List []ScopeHost }

// ScopeHost takes hosts by namespace ("*" is any) and by name ("*" is any, "*.x" those below x).
type ScopeHost struct{ Namespace, Host string }

// Sees tells whether a node with this scope is sent what has that audience.
func (s *NodeScope) Sees(a *Audience) bool {
	if s == nil || a == nil {
		return true
	}
	for i := range s.Groups {
		for j := range a.AnyOf {
			if s.Groups[i].sees(&a.AnyOf[j]) {
				return true
			}
		}
	}
	return false
}

// Equal tells whether two scopes are the same.
func (s *NodeScope) Equal(o *NodeScope) bool {
	if s == o || s == nil || o == nil {
		return s == o
	}
	return slices.EqualFunc(s.Groups, o.Groups, func(x, y ScopeGroup) bool {
		return x.Namespace == y.Namespace && x.Hosts.Equal(y.Hosts)
	})
}

func (g *ScopeGroup) sees(r *Reach) bool {
	exported := len(r.ExportTo) == 0 || slices.Contains(r.ExportTo, "*") || slices.Contains(r.ExportTo, g.Namespace)
	return exported && g.Hosts.takes(r)
}

// Equal tells whether two limits are the same.
func (h *ScopeHosts) Equal(o *ScopeHosts) bool {
	if h == o || h == nil || o == nil {
		return h == o
	}
	return slices.Equal(h.List, o.List)
}

func (h *ScopeHosts) takes(r *Reach) bool {
	if h == nil {
		return true
	}
	return slices.ContainsFunc(h.List, func(p ScopeHost) bool {
		return (p.Namespace == "*" || p.Namespace == r.Namespace) && overlap(p.Host, r.Host)
	})
}

// overlap tells whether some name is under both, each of which may be a wildcard.
func overlap(a, b string) bool { return under(a, b) || under(b, a) }

func under(name, pattern string) bool {
	if pattern == "*" || name == pattern {
		return true
	}
	return strings.HasPrefix(pattern, "*.") && len(name) >= len(pattern) && strings.HasSuffix(name, pattern[1:])
}
