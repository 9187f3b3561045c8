package resolve

import (
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// StatusKey is the key of an object in Statuses: "<group>/<Kind>/<ObjectKey>".
func StatusKey(r model.Ref) string { return r.Group + "/" + r.Kind + "/" + ObjectKey(r) }

// statuses gathers what every kind says of its objects into one table.
type statuses struct {
	readers  map[string][]func(*table.Reader, string) *model.ObjectStatus // by kind
	triggers []table.Trigger
	lost     *table.Index[*Port]
	collided *table.Index[*Collision]
}

// newStatuses declares the last table of the stage: what the author of each object is told, conflicts between gateways
// included.
func newStatuses(e *table.Engine, res *Resolved) *table.Derived[*model.ObjectStatus] {
	s := &statuses{readers: map[string][]func(*table.Reader, string) *model.ObjectStatus{}}
	self := func(o *model.ObjectStatus) *model.ObjectStatus { return o }
	ofRoute := func(r *RouteState) *model.ObjectStatus { return &r.Status }
	ofGateway := func(g *GatewayState) *model.ObjectStatus { return &g.Status }
	gather(s, res.API.Classes, self, "GatewayClass")
	gather(s, res.API.GatewayStatus, self, "Gateway")
	gather(s, res.API.Routes, ofRoute, "HTTPRoute")
	gather(s, res.Traffic.Gateways, ofGateway, "Gateway")
	gather(s, res.Traffic.Routes, ofRoute, "VirtualService")
	gather(s, res.Policies.Status, self, "DestinationRule")
	gather(s, res.Hosts.Status, self, "ServiceEntry")
	gather(s, res.Endpoints.Status, self, "WorkloadEntry")
	gather(s, res.Scopes.sidecars.status, self, "Sidecar")
	gather(s, res.Verdicts.status, self, policyKinds()...)
	gather(s, res.Trust.Status, self, model.TrustBundleKind)
	s.lost = table.NewIndex(res.Servers.Ports, "lost servers", func(_ string, p *Port) []string {
		var keys []string
		for i := range p.Lost {
			keys = append(keys, StatusKey(p.Lost[i].Server.Gateway))
		}
		return keys
	})
	s.collided = table.NewIndex(newCollisions(e, res.Outbound), "lost addresses", func(_ string, c *Collision) []string {
		keys := make([]string, len(c.Losers))
		for i, l := range c.Losers {
			keys[i] = StatusKey(l)
		}
		return keys
	})
	return table.NewDerived(e, "statuses", s.status, s.triggers)
}

// gather adds the statuses of a table of one kind, or of some.
func gather[V any](s *statuses, t *table.Derived[V], of func(V) *model.ObjectStatus, kinds ...string) {
	ix := table.NewIndex(t, t.Name()+": status", func(_ string, v V) []string { return []string{StatusKey(of(v).Ref)} })
	s.triggers = append(s.triggers, ix)
	for _, kind := range kinds {
		s.readers[kind] = append(s.readers[kind], func(r *table.Reader, key string) *model.ObjectStatus {
			for _, e := range table.List(r, ix, key) {
				return of(e.Value)
			}
			return nil
		})
	}
}

func (s *statuses) status(r *table.Reader, key string) (*model.ObjectStatus, bool) {
	_, rest, _ := strings.Cut(key, "/")
	kind, _, _ := strings.Cut(rest, "/")
	for _, read := range s.readers[kind] {
		if o := read(r, key); o != nil {
			if kind == "ServiceEntry" {
				return collided(o, s.collisions(r, key)), true
			}
			return s.withLost(r, key, o), true
		}
	}
	return nil, false
}

// collisions are the addresses that an object has lost.
func (s *statuses) collisions(r *table.Reader, key string) []*Collision {
	var found []*Collision
	for _, e := range table.List(r, s.collided, key) {
		found = append(found, e.Value)
	}
	return found
}

// withLost adds the conflicts with other gateways over a port or a host of it.
func (s *statuses) withLost(r *table.Reader, key string, o *model.ObjectStatus) *model.ObjectStatus {
	if o.Ref.Kind != "Gateway" {
		return o
	}
	n := *o
	n.Conditions, n.Listeners = slices.Clone(o.Conditions), slices.Clone(o.Listeners)
	for _, e := range table.List(r, s.lost, key) {
		for i := range e.Value.Lost {
			if l := &e.Value.Lost[i]; l.Server.Gateway == o.Ref {
				lose(&n, l)
			}
		}
	}
	return &n
}

// lose says on the object that one of its servers is not served.
func lose(o *model.ObjectStatus, l *LostServer) {
	for i := range o.Listeners {
		if o.Listeners[i].Name == l.Server.Section {
			o.Listeners[i].Conditions = append(withoutType(o.Listeners[i].Conditions, "Accepted"), model.Condition{
				Type: "Accepted", Reason: string(gatewayv1.ListenerReasonPortUnavailable), Message: l.Message,
				Path: "spec.listeners[" + strconv.Itoa(i) + "].port",
			})
			return
		}
	}
	o.Conditions = append(withoutType(o.Conditions, conditionAccepted), model.Condition{
		Type: conditionAccepted, Reason: reasonConflict, Path: "spec.servers", Message: "server " + l.Server.Section + ": " + l.Message,
	})
}

// withoutType leaves out the true conditions of a type; warnings stay.
func withoutType(list []model.Condition, kind string) []model.Condition {
	return slices.DeleteFunc(slices.Clone(list), func(c model.Condition) bool { return c.Type == kind && c.Status && !c.Warning })
}
