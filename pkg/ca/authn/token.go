package authn

import (
	"context"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/ca"
)

const (
	// podWait is how long a pod is waited for that is too new to be known here; podNew is the age of a token that can be of one.
	podWait = 2 * time.Second
	podNew  = time.Minute
	podPoll = 20 * time.Millisecond
)

// token says who bears a token. That the pod runs now is asked each time, so a token ends with its pod.
func (a *Authn) token(ctx context.Context, token string) (*ca.Caller, *Refusal) {
	b, r := a.tokens.verify(ctx, token)
	if r != nil {
		return nil, r
	}
	c, r := a.bearer(ctx, b)
	if r != nil {
		r.Claim = b.claim()
	}
	return c, r
}

func (a *Authn) bearer(ctx context.Context, b *believed) (*ca.Caller, *Refusal) {
	fresh := !b.seen.Load() && a.cfg.Now().Sub(b.issued) <= podNew
	return a.await(ctx, fresh, func() (*ca.Caller, *Refusal, bool) { return a.running(b) })
}

// await asks about a caller; of one that is fresh it asks again for a while where the caller may be ahead of what is known here.
func (a *Authn) await(ctx context.Context, fresh bool, ask func() (c *ca.Caller, r *Refusal, perhaps bool)) (*ca.Caller, *Refusal) {
	c, r, perhaps := ask()
	if r == nil || !perhaps || !fresh {
		return c, r
	}
	timeout, poll := time.NewTimer(podWait), time.NewTicker(podPoll)
	defer timeout.Stop()
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, later(r.Reason, "%s", r.Detail)
		case <-timeout.C:
			return nil, later(r.Reason, "%s, for %s", r.Detail, podWait)
		case <-poll.C:
		}
		if c, r, perhaps = ask(); r == nil || !perhaps {
			return c, r
		}
	}
}

// running compares what a token says with what runs; perhaps is true where the one may be ahead of the other.
func (a *Authn) running(b *believed) (c *ca.Caller, r *Refusal, perhaps bool) {
	pod, ok := a.cfg.Directory.Pod(b.pod.Namespace, b.pod.Name)
	switch {
	case !ok:
		return nil, refuse(PodUnknown, "pod %s/%s is gone, has finished, or is not known yet", b.pod.Namespace, b.pod.Name), true
	case pod.UID != b.pod.UID:
		return nil, refuse(PodUID, "pod %s/%s has UID %s", b.pod.Namespace, b.pod.Name, pod.UID), true
	case pod.ServiceAccount != b.pod.ServiceAccount:
		return nil, refuse(PodServiceAccount, "pod %s/%s has ServiceAccount %s", b.pod.Namespace, b.pod.Name, pod.ServiceAccount), false
	case pod.Node == "" || b.node.Name != "" && pod.Node != b.node.Name:
		return nil, refuse(PodNode, "pod %s/%s is on node %q, not %q", b.pod.Namespace, b.pod.Name, pod.Node, b.node.Name), pod.Node == ""
	}
	id, err := ca.WorkloadID(a.cfg.TrustDomain, pod.Namespace, pod.ServiceAccount)
	if err != nil {
		return nil, refuse(IdentityGrammar, "%v", err), false
	}
	c = &ca.Caller{Kind: ca.Workload, Method: b.method, ID: id, Pod: &pod.PodRef, Node: ca.NodeRef{Name: pod.Node, UID: b.node.UID}, Expires: b.expires}
	switch {
	case slices.Contains(a.cfg.NodeAgents, ServiceAccount{pod.Namespace, pod.ServiceAccount}):
		if r, perhaps = a.agent(c); r != nil {
			return nil, r, perhaps
		}
	case id == a.cfg.Server:
		c.Kind = ca.Replica
	}
	b.seen.Store(true)
	return c, nil, false
}

// agent makes a caller the agent of the node that its pod runs on.
func (a *Authn) agent(c *ca.Caller) (r *Refusal, perhaps bool) {
	uid, ok := a.cfg.Directory.Node(c.Node.Name)
	switch {
	case !ok:
		return refuse(NodeUnknown, "node %q is not known", c.Node.Name), true
	case c.Node.UID != "" && c.Node.UID != uid:
		return refuse(NodeUID, "node %s has UID %s, not %s", c.Node.Name, uid, c.Node.UID), false
	}
	c.Kind, c.Node.UID = ca.Node, uid
	id, err := ca.NodeID(a.cfg.TrustDomain, c.Node)
	if err != nil {
		return refuse(IdentityGrammar, "%v", err), false
	}
	c.ID = id
	return nil, false
}
