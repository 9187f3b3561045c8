package flows

import (
	"net/netip"
	"slices"
	"strings"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/observe/filter"
	"fairlead.io/fairlead/pkg/verdict"
)

// maxNames bounds what is kept of pods and policies for the next flow.
const maxNames = 16384

// pod tells one endpoint from another. namespace and name are empty where only the identity is known.
type pod struct{ identity, namespace, name string }

func (o *Observer) forgetNames() {
	o.endpoints, o.policies = map[pod]*flow.Endpoint{}, map[verdict.Origin]*flow.Policy{}
}

// endpoint says who was at an address. The kernel's number counts more than who has the address now: another pod may have got it
// since. Host says that an address which nobody is known to have is this node's.
func (o *Observer) endpoint(a netip.Addr, number uint32, host bool) *flow.Endpoint {
	var p pod
	var workload string
	var labels map[string]string
	if number != 0 {
		p.identity, workload, labels = o.cfg.Names.Identity(number)
	}
	p.namespace, p.name, _ = o.cfg.Names.Pod(a)
	if was := namespaceOf(p.identity); p.identity != "" && was != p.namespace {
		p.namespace, p.name = was, ""
	}
	switch {
	case p == pod{} && host:
		return reserved(filter.Host, "reserved:host")
	case p == pod{}:
		return reserved(filter.World, "reserved:world")
	case p.namespace == "":
		return o.machine(p.identity)
	}
	if e, ok := o.endpoints[p]; ok {
		return e
	}
	e := named(p, workload, labels)
	if len(o.endpoints) >= maxNames {
		o.forgetNames()
	}
	if len(labels) > 0 { // else they may become known
		o.endpoints[p] = e
	}
	return e
}

// named makes the endpoint of a pod.
func named(p pod, workload string, labels map[string]string) *flow.Endpoint {
	e := &flow.Endpoint{Namespace: p.namespace, PodName: p.name, Labels: []string{"k8s:io.kubernetes.pod.namespace=" + p.namespace}}
	if p.identity != "" {
		e.Identity = filter.Identity(p.identity)
		e.Labels = append(e.Labels, identityLabel(p.identity))
	}
	for k, v := range labels {
		e.Labels = append(e.Labels, "k8s:"+k+"="+v)
	}
	slices.Sort(e.Labels)
	if kind, name, ok := strings.Cut(workload, "/"); ok {
		e.Workloads = []*flow.Workload{{Kind: kind, Name: name}}
	}
	return e
}

// machine makes the endpoint of an identity that is no pod's.
func (o *Observer) machine(identity string) *flow.Endpoint {
	switch {
	case identity == verdict.NodeIdentity(o.cfg.Node):
		return reserved(filter.Host, "reserved:host", identityLabel(identity))
	case strings.HasPrefix(identity, verdict.NodeIdentity("")):
		return reserved(filter.RemoteNode, "reserved:remote-node", identityLabel(identity))
	case strings.HasPrefix(identity, "kube-apiserver/"):
		return reserved(filter.KubeAPIServer, "reserved:kube-apiserver", identityLabel(identity))
	}
	return reserved(filter.Identity(identity), identityLabel(identity))
}

func reserved(number uint32, labels ...string) *flow.Endpoint {
	return &flow.Endpoint{Identity: number, Labels: labels}
}

func identityLabel(identity string) string { return "fairlead:identity=" + identity }

// namespaceOf is that of a name of verdict.Filter.Identity, empty for another.
func namespaceOf(identity string) string {
	if parts := strings.Split(identity, "/"); len(parts) == 6 && parts[1] == "ns" {
		return parts[2]
	}
	return ""
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
			list = []verdict.Origin{r.Origin}
		}
	case datapath.Isolation:
		list = o.cfg.Names.Isolating(s.Set, d, s.Family)
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
