package issue

import (
	"context"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
)

// grant is an identity that a caller may have.
type grant struct {
	id   spiffeid.ID
	kind string // "workload", "node", "gateway", "replica"
	// pod is whom it is for, where that is known; node is where.
	pod  *ca.PodRef
	node string
}

// grants decides the identities of one call.
type grants struct {
	s *Service
	c *ca.Caller
	// patience ends the waiting for pods that are not known yet, of all certificates of the call together.
	patience time.Time
}

const (
	// podWait is how long a call waits for pods that its node has seen before this replica has.
	podWait = 500 * time.Millisecond
	podPoll = 10 * time.Millisecond
)

func (s *Service) grants(c *ca.Caller) *grants { return &grants{s: s, c: c} }

// subject decides about whom a request names.
func (g *grants) subject(ctx context.Context, of *cav1.Subject, r *record) (grant, *refusal) {
	switch {
	case of.GetPod() != nil:
		p := of.GetPod()
		ref := ca.PodRef{Namespace: p.GetNamespace(), Name: p.GetName(), UID: p.GetUid(), ServiceAccount: p.GetServiceAccount()}
		r.asked = cut("pod " + ref.Namespace + "/" + ref.Name + "/" + ref.UID + " sa " + ref.ServiceAccount)
		return g.pod(ctx, ref)
	case of.GetGateway() != nil:
		r.asked = cut("gateway " + of.GetGateway().GetNamespace() + "/" + of.GetGateway().GetName())
		return g.gateway(of.GetGateway())
	}
	return g.self(), nil
}

func cut(s string) string { return s[:min(len(s), 600)] }

// self is the identity that the caller has proved.
func (g *grants) self() grant {
	return grant{id: g.c.ID, kind: string(g.c.Kind), pod: g.c.Pod, node: g.c.Node.Name}
}

// pod is for a pod that runs on the caller's node, or that is the caller.
func (g *grants) pod(ctx context.Context, want ca.PodRef) (grant, *refusal) {
	if want.Namespace == "" || want.Name == "" || want.UID == "" || want.ServiceAccount == "" {
		return grant{}, invalid(Malformed, "the pod is named without namespace, name, UID or ServiceAccount")
	}
	if g.c.Kind != ca.Node {
		if g.c.Pod != nil && *g.c.Pod == want {
			return g.self(), nil
		}
		return grant{}, denied(NotNodeAgent, "%s asks for another", g.c.ID)
	}
	have, ok := g.find(ctx, want)
	switch {
	case !ok:
		return grant{}, denied(PodUnknown, "the pod is gone, has finished, or is not known yet")
	case have.UID != want.UID:
		return grant{}, denied(PodUID, "the pod has UID %s", have.UID)
	case have.ServiceAccount != want.ServiceAccount:
		return grant{}, denied(PodServiceAccount, "the pod has ServiceAccount %s", have.ServiceAccount)
	case have.Node == "" || have.Node != g.c.Node.Name:
		return grant{}, denied(PodNode, "the pod is on node %q, the caller on %q", have.Node, g.c.Node.Name)
	}
	id, err := ca.WorkloadID(g.s.cfg.TrustDomain, have.Namespace, have.ServiceAccount)
	if err != nil {
		return grant{}, invalid(Malformed, "%v", err)
	}
	return grant{id: id, kind: string(ca.Workload), pod: &have.PodRef, node: have.Node}, nil
}

// find looks a pod up, and waits a moment for one that is not known.
func (g *grants) find(ctx context.Context, want ca.PodRef) (ca.Pod, bool) {
	have, ok := g.s.cfg.Directory.Pod(want.Namespace, want.Name)
	if ok {
		return have, true
	}
	if g.patience.IsZero() {
		g.patience = time.Now().Add(podWait)
	}
	poll := time.NewTicker(podPoll)
	defer poll.Stop()
	for !ok && time.Now().Before(g.patience) {
		select {
		case <-ctx.Done():
			return ca.Pod{}, false
		case <-poll.C:
		}
		have, ok = g.s.cfg.Directory.Pod(want.Namespace, want.Name)
	}
	return have, ok
}

// gateway is for a Gateway that is served on the caller's node.
func (g *grants) gateway(want *cav1.Gateway) (grant, *refusal) {
	if want.GetNamespace() == "" || want.GetName() == "" {
		return grant{}, invalid(Malformed, "the Gateway is named without namespace or name")
	}
	if g.c.Kind != ca.Node {
		return grant{}, denied(NotNodeAgent, "%s asks for a Gateway", g.c.ID)
	}
	if !g.s.cfg.Directory.Gateway(g.c.Node.Name, want.GetNamespace(), want.GetName()) {
		return grant{}, denied(GatewayPlacement, "the Gateway is not there, or not on node %s", g.c.Node.Name)
	}
	id, err := ca.GatewayID(g.s.cfg.TrustDomain, want.GetNamespace(), want.GetName())
	if err != nil {
		return grant{}, invalid(Malformed, "%v", err)
	}
	return grant{id: id, kind: "gateway", node: g.c.Node.Name}, nil
}

// impersonated is for an identity that a pod on the caller's node has: ztunnel names no pod.
func (g *grants) impersonated(want string) (grant, *refusal) {
	id, err := spiffeid.FromString(want)
	if err != nil {
		return grant{}, invalid(Malformed, "the impersonated identity: %v", err)
	}
	if g.c.Kind != ca.Node {
		return grant{}, denied(NotNodeAgent, "%s asks for another", g.c.ID)
	}
	id, ok := ca.Own(g.s.cfg.TrustDomain, g.s.cfg.Aliases, id)
	if !ok {
		return grant{}, denied(TrustDomain, "%.300s is neither of %s nor of an alias", want, g.s.cfg.TrustDomain)
	}
	namespace, account, ok := ca.ParseWorkloadID(id)
	if !ok || !g.s.cfg.Directory.RunsOn(g.c.Node.Name, namespace, account) {
		return grant{}, denied(NotOnNode, "no pod on node %s has it", g.c.Node.Name)
	}
	return grant{id: id, kind: string(ca.Workload), node: g.c.Node.Name}, nil
}
