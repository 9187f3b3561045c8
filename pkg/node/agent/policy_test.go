package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/node/cni"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/enforce"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/verdict"
	"fairlead.io/fairlead/pkg/verdict/wire"
)

// policyRig is an agent that enforces policy on a node with pods.
type policyRig struct {
	*rig
	node *hostNode
	t    testing.TB
}

func newPolicyRig(t *testing.T) *policyRig {
	t.Helper()
	r := &policyRig{rig: newRig(t), node: newHost(t), t: t}
	r.cfg.Policy = &PolicyConfig{
		Dir: bpffs(t), State: filepath.Join(r.dir, "policy"), Namespace: r.node.path(),
		Sizes: datapath.Sizes{Addresses: 4096, Identities: 1024, Sets: 256, Rules: 1 << 16, Ranges: 4096, Flows: 4096, Drops: 1024, Events: 1 << 20},
	}
	t.Cleanup(func() {
		if err := datapath.Uninstall(r.cfg.Policy.Dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

// place tells the control plane of pods.
func (r *policyRig) place(pods ...*pod) {
	var put []*snapshot.Resource
	for _, p := range pods {
		w := &nodev1.Workload{
			Uid: p.uid, Namespace: "shop", Name: p.name, ServiceAccount: p.name, Node: "node-a", Identity: p.identity,
			SpiffeId: "spiffe://cluster.local/ns/shop/sa/" + p.name,
		}
		for _, a := range p.addresses {
			w.Addresses = append(w.Addresses, a.String())
		}
		peer := wire.EncodePeer(&wire.Peer{Identity: p.identity, Namespace: "shop", Name: p.name, Addresses: p.addresses, Entities: verdict.All | verdict.Pods, Node: "node-a"})
		put = append(put, r.server.Encode(p.uid, w), r.server.Encode(p.uid, peer))
	}
	r.server.Put(put)
}

// set says what holds for an identity.
func (r *policyRig) set(identity string, s *verdict.Set) {
	r.server.Put([]*snapshot.Resource{r.server.Encode(identity, wire.Encode(s))})
}

func (r *policyRig) peerSet(name string, identities ...string) {
	r.server.Put([]*snapshot.Resource{r.server.Encode(name, wire.EncodePeerSet(identities))})
}

// isolated denies all ingress but what a rule allows; one for each PeerSet.
func isolated(peerSets ...string) *verdict.Set {
	s := &verdict.Set{}
	by := verdict.Origin{Kind: "NetworkPolicy", Namespace: "shop", Name: "db"}
	s.Isolated[verdict.Ingress][verdict.Network] = []verdict.Origin{by}
	for i, name := range peerSets {
		s.Rules = append(s.Rules, verdict.Rule{
			Direction: verdict.Ingress, Tier: verdict.Main, Action: verdict.Allow, Ports: []verdict.Ports{{Protocol: 6, First: 80, Last: 80}},
			Peers: []verdict.Peer{{Kind: verdict.PeerSet, Name: name}}, Origin: by,
		})
		s.Rules[i].Origin.Rule = fmt.Sprintf("ingress[%d]", i)
	}
	return s
}

// enforced waits until all pods are.
func (r *policyRig) enforced(n int) *Status {
	r.t.Helper()
	var got *Status
	eventually(r.t.(*testing.T), "pods are enforced", func() (err error) {
		if got, err = r.status(); err != nil {
			return err
		}
		has := 0
		for _, e := range got.Policy.Endpoints {
			if e.State == enforce.Enforced {
				has++
			}
		}
		if has != n || got.NotReady != "" {
			return fmt.Errorf("%d of %d: %q: %+v", has, n, got.NotReady, got.Policy)
		}
		return nil
	})
	return got
}

// denied wants silence from every address of a pod, allowed an answer, soon.
func (r *policyRig) denied(from, to *pod) {
	r.t.Helper()
	for _, a := range to.addresses {
		c, err := from.dial(a, 80, silence)
		if err == nil {
			_ = c.Close()
			r.t.Errorf("%s to %s at %s: connected", from.name, to.name, a)
		} else if !silent(err) {
			r.t.Errorf("%s to %s at %s: %v, where nothing should come back", from.name, to.name, a, err)
		}
	}
}

func (r *policyRig) allowed(from, to *pod) (out []net.Conn) {
	r.t.Helper()
	for _, a := range to.addresses {
		eventually(r.t.(*testing.T), fmt.Sprintf("%s to %s at %s", from.name, to.name, a), func() error {
			c, err := from.dial(a, 80, silence)
			if err != nil {
				return err
			}
			if err := echo(c, patience); err != nil {
				_ = c.Close()
				return err
			}
			out = append(out, c)
			return nil
		})
	}
	r.t.Cleanup(func() {
		for _, c := range out {
			_ = c.Close()
		}
	})
	return out
}

// told wants to hear of a SYN that was dropped, by the policy that isolates.
func (r *policyRig) told(from, to string) {
	r.t.Helper()
	conn, err := grpc.NewClient("unix:"+r.cfg.Policy.Flows, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	eventually(r.t.(*testing.T), "a flow that was dropped", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stream, err := observer.NewObserverClient(conn).GetFlows(ctx, &observer.GetFlowsRequest{Number: 100})
		if err != nil {
			return err
		}
		var f *flow.Flow
		for {
			m, err := stream.Recv()
			if err != nil {
				return fmt.Errorf("no such flow: %w; the last is %v", err, f)
			}
			f = m.GetFlow()
			if f.GetVerdict() != flow.Verdict_DROPPED || f.GetSource().GetPodName() != from || f.GetDestination().GetPodName() != to {
				continue
			}
			if by := f.GetIngressDeniedBy(); len(by) != 1 || by[0].GetName() != "db" || !f.GetL4().GetTCP().GetFlags().GetSYN() || f.GetDropReasonDesc() != flow.DropReason_POLICY_DENIED {
				return fmt.Errorf("it is told as %v", f)
			}
			return nil
		}
	})
}

// TestPolicy has a denied SYN dropped, and an edit open it: from the control plane to the kernel, with a bridge and with routes.
func TestPolicy(t *testing.T) {
	for _, bridged := range []bool{true, false} {
		t.Run(map[bool]string{true: "bridge", false: "routes"}[bridged], func(t *testing.T) {
			r := newPolicyRig(t)
			r.cfg.Policy.Flows = filepath.Join(r.dir, "flows", "s")
			web, db := r.node.pod("web", "cluster.local/ns/shop/sa/web/1", 2, bridged), r.node.pod("db", "cluster.local/ns/shop/sa/db/1", 3, bridged)
			db.listen(80)
			r.place(web, db)
			r.set("cluster.local/ns/shop/sa/web/1", &verdict.Set{})
			r.set("cluster.local/ns/shop/sa/db/1", isolated())
			r.start(t)
			r.enforced(2)
			r.denied(web, db)
			r.told("web", "db")

			r.peerSet("app=web", "cluster.local/ns/shop/sa/web/1")
			r.set("cluster.local/ns/shop/sa/db/1", isolated("app=web"))
			r.allowed(web, db)

			r.peerSet("app=web")
			eventually(t, "the peer set is empty", func() error {
				if c, err := web.dial(db.addresses[0], 80, silence); err == nil {
					return fmt.Errorf("connected: %v", c.Close())
				}
				return nil
			})
			r.denied(web, db)
		})
	}
}

// TestHeldBack has a pod wait for its policy: by the CNI plugin's question, from a network namespace that the agent has never seen.
func TestHeldBack(t *testing.T) {
	r := newPolicyRig(t)
	r.cfg.Policy.CNI = filepath.Join(r.dir, "cni", "s")
	web, db := r.node.pod("web", "cluster.local/ns/shop/sa/web/1", 2, true), r.node.pod("db", "cluster.local/ns/shop/sa/db/1", 3, false)
	web.listen(80)
	db.listen(80)
	r.place(web)
	r.set("cluster.local/ns/shop/sa/web/1", &verdict.Set{})
	r.start(t)
	r.enforced(1)

	add := cni.Request{Command: "ADD", Namespace: "shop", Name: "db", UID: db.uid, Interface: "eth0", NetNS: db.path(), WaitNanosecond: int64(time.Second), Addresses: db.addresses}
	ask := func(req cni.Request) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return cni.Ask(ctx, r.cfg.Policy.CNI, req)
	}
	if err := ask(add); err == nil || !strings.Contains(err.Error(), "the control plane does not know it") {
		t.Errorf("a pod that nobody knows: %v", err)
	}
	r.denied(db, web)
	r.denied(web, db)
	r.place(db)
	if err := ask(add); err == nil || !strings.Contains(err.Error(), "the control plane has not told its policy") {
		t.Errorf("a pod without policy: %v", err)
	}
	r.denied(db, web)
	add.WaitNanosecond = int64(patience)
	done := make(chan error, 1)
	go func() { done <- ask(add) }()
	r.set("cluster.local/ns/shop/sa/db/1", isolated())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.allowed(db, web)
	r.denied(web, db)
	add.Command = "CHECK"
	if err := ask(add); err != nil {
		t.Errorf("CHECK: %v", err)
	}

	add.Command, add.UID, add.NetNS = "ADD", "uid-other", r.node.path()
	if err := ask(add); err == nil || !strings.Contains(err.Error(), "the node's own network namespace") {
		t.Errorf("the node's own namespace: %v", err)
	}
	r.stop()
	if err := ask(add); err == nil {
		t.Error("an agent that has stopped answers")
	}
}

// processes shows pods by a process each, in cgroups as the kubelet names them.
func (r *policyRig) processes(pods ...*pod) {
	r.t.Helper()
	r.cfg.Policy.Proc = r.t.TempDir()
	for i, p := range pods {
		dir := filepath.Join(r.cfg.Policy.Proc, fmt.Sprint(100+i))
		err := errors.Join(os.MkdirAll(filepath.Join(dir, "ns"), 0o755), os.Symlink(p.path(), filepath.Join(dir, "ns", "net")),
			os.WriteFile(filepath.Join(dir, "cgroup"), []byte("0::/kubepods/burstable/pod"+p.uid+"/c1\n"), 0o600),
			os.WriteFile(filepath.Join(dir, "stat"), []byte("100 (a (b) c) S "+strings.Repeat("1 ", 18)+"7 0\n"), 0o600))
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestReset ends connections whose permission is withdrawn on both sides, idle ones too, and by an error.
func TestReset(t *testing.T) {
	r := newPolicyRig(t)
	web, db := r.node.pod("web", "cluster.local/ns/shop/sa/web/1", 2, true), r.node.pod("db", "cluster.local/ns/shop/sa/db/1", 3, false)
	other := r.node.pod("other", "cluster.local/ns/shop/sa/other/1", 4, false)
	for i, p := range []*pod{web, db, other} {
		p.uid = fmt.Sprintf("00000000-0000-4000-8000-00000000000%d", i)
	}
	r.processes(web, db, other)
	db.listen(80)
	r.place(web, db, other)
	r.set("cluster.local/ns/shop/sa/web/1", &verdict.Set{})
	r.set("cluster.local/ns/shop/sa/other/1", &verdict.Set{})
	r.peerSet("app=web", "cluster.local/ns/shop/sa/web/1")
	r.peerSet("app=other", "cluster.local/ns/shop/sa/other/1")
	r.set("cluster.local/ns/shop/sa/db/1", isolated("app=web", "app=other"))
	r.start(t)
	r.enforced(3)
	ended, stays := r.allowed(web, db), r.allowed(other, db)
	wanted := func(list []net.Conn) {
		t.Helper()
		for _, c := range list {
			began := time.Now()
			_ = c.SetDeadline(began.Add(patience))
			if _, err := c.Read(make([]byte, 1)); err == nil || silent(err) {
				t.Errorf("a connection whose permission was withdrawn: %v", err)
			}
			t.Logf("ended after %s", time.Since(began))
		}
	}
	r.peerSet("app=web")
	wanted(ended)
	for _, c := range stays {
		if err := echo(c, patience); err != nil {
			t.Errorf("a connection that is allowed still: %v", err)
		}
	}
	r.set("cluster.local/ns/shop/sa/db/1", isolated())
	wanted(stays)
}
