package flows

import (
	"net/netip"
	"slices"
	"strings"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/observe/filter"
	"fairlead.io/fairlead/pkg/verdict"
)

// maxNames bounds what is kept of Peers and Origins for the next flow.
const maxNames = 16384

func (o *Observer) forgetNames() {
	o.endpoints, o.policies = map[*nodev1.Peer]*flow.Endpoint{}, map[verdict.Origin]*flow.Policy{}
}

// endpoint says who was at an address. The kernel's number counts more than who has the address now: a pod may have got it since.
func (o *Observer) endpoint(a netip.Addr, number uint32, host bool) *flow.Endpoint {
	peer, identity := o.cfg.Names.Peer(a), ""
	if number != 0 {
		identity = o.cfg.Names.Identity(number)
	}
	switch {
	case peer != nil && (number == 0 || identity == "" || identity == peer.GetIdentity()):
		return o.peer(peer)
	case identity != "":
		return identified(identity)
	case host:
		return reserved(filter.Host, "reserved:host")
	}
	return reserved(filter.World, "reserved:world")
}

func (o *Observer) peer(p *nodev1.Peer) *flow.Endpoint {
	if e, ok := o.endpoints[p]; ok {
		return e
	}
	if len(o.endpoints) >= maxNames {
		o.forgetNames()
	}
	e := o.named(p)
	o.endpoints[p] = e
	return e
}

// named makes an endpoint of a Peer.
func (o *Observer) named(p *nodev1.Peer) *flow.Endpoint {
	if p.GetNamespace() != "" {
		e := identified(p.GetIdentity())
		e.Namespace, e.PodName = p.GetNamespace(), p.GetName()
		for k, v := range p.GetLabels() {
			e.Labels = append(e.Labels, "k8s:"+k+"="+v)
		}
		slices.Sort(e.Labels)
		if kind, name, ok := strings.Cut(p.GetWorkload(), "/"); ok {
			e.Workloads = []*flow.Workload{{Kind: kind, Name: name}}
		}
		return e
	}
	e := reserved(filter.RemoteNode, "reserved:remote-node", "fairlead:identity="+p.GetIdentity())
	entities := verdict.Entity(p.GetEntities())
	switch {
	case p.GetIdentity() == verdict.NodeIdentity(o.cfg.Node):
		e = reserved(filter.Host, "reserved:host", "fairlead:identity="+p.GetIdentity())
	case entities&verdict.RemoteNode == 0:
		e = reserved(filter.World, "reserved:world")
	}
	if entities&verdict.KubeAPIServer != 0 {
		e.Labels = append(e.Labels, "reserved:kube-apiserver")
		if e.Identity != filter.Host {
			e.Identity = filter.KubeAPIServer
		}
	}
	return e
}

func reserved(number uint32, labels ...string) *flow.Endpoint {
	return &flow.Endpoint{Identity: number, Labels: labels}
}

// identified makes an endpoint of a name of verdict.Filter.Identity, or of a node.
func identified(identity string) *flow.Endpoint {
	if strings.HasPrefix(identity, "node/") {
		return reserved(filter.RemoteNode, "reserved:remote-node", "fairlead:identity="+identity)
	}
	e := &flow.Endpoint{Identity: filter.Identity(identity), Labels: []string{"fairlead:identity=" + identity}}
	if parts := strings.Split(identity, "/"); len(parts) == 6 && parts[1] == "ns" {
		e.Namespace = parts[2]
		e.Labels = append(e.Labels, "k8s:io.kubernetes.pod.namespace="+parts[2])
	}
	return e
}

// origins are the policies that have decided, and which of their rules.
type origins struct {
	policies []*flow.Policy
	rules    []string
}

// origins says what has decided in one direction.
func (o *Observer) origins(e *datapath.Event, d verdict.Direction) (out origins) {
	s := &e.Said[d]
	if !s.Judged {
		return out
	}
	var list []verdict.Origin
	switch s.Because {
	case datapath.ByRule:
		if r, ok := o.cfg.Names.Rule(s.Set, s.Rule); ok {
			list = []verdict.Origin{r}
		}
	case datapath.Isolation:
		// Of a reply, the source is who was called.
		identity := e.SourceIdentity
		if (d == verdict.Ingress) != e.Reply {
			identity = e.DestinationIdentity
		}
		list = o.cfg.Names.Isolation(identity, d, s.Family)
	}
	for _, x := range list {
		out.policies = append(out.policies, o.policy(x))
		out.rules = append(out.rules, ruleName(x))
	}
	return out
}

func (o *Observer) policy(x verdict.Origin) *flow.Policy {
	x.Rule = ""
	if p, ok := o.policies[x]; ok {
		return p
	}
	if len(o.policies) >= maxNames {
		o.forgetNames()
	}
	p := &flow.Policy{Name: x.Name, Namespace: x.Namespace, Kind: x.Kind}
	o.policies[x] = p
	return p
}

// ruleName is "NetworkPolicy shop/db ingress[0]".
func ruleName(x verdict.Origin) string {
	name := x.Name
	if x.Namespace != "" {
		name = x.Namespace + "/" + name
	}
	name = x.Kind + " " + name
	if x.Rule != "" {
		name += " " + x.Rule
	}
	return name
}
