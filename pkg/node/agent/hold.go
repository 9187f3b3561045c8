package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/node/cni"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/enforce"
)

// holdTime is how often it is looked whether a pod that is held back may go.
const holdTime = 20 * time.Millisecond

// staticUID is the length of the UID that a kubelet makes of a static pod's manifest; the API server knows another one.
const staticUID = 32

// Add implements cni.Handler: it attaches a pod, whose network has just been made, and waits until its own policy judges it.
func (x *enforcer) Add(ctx context.Context, r cni.Request) error {
	place, addresses, err := x.host.In(r.NetNS, r.Interface)
	if err != nil {
		return fmt.Errorf("find interface %s of pod %s/%s: %w", r.Interface, r.Namespace, r.Name, err)
	}
	for _, a := range r.Addresses {
		if !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	if n := len(addresses); n == 0 || n > datapath.MaxAddresses {
		return fmt.Errorf("pod %s/%s has %d addresses, which is not 1 to %d", r.Namespace, r.Name, n, datapath.MaxAddresses)
	}
	tick := time.NewTicker(holdTime)
	defer tick.Stop()
	attached := ""
	for {
		uid := x.uidOf(r)
		if uid != attached {
			x.mu.Lock()
			err = x.attach(uid, place, addresses)
			if err == nil {
				err = x.renewNow(uid)
			}
			x.mu.Unlock()
			if err != nil {
				return err
			}
			attached = uid
		}
		if err = x.ready(uid); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return x.explain(err)
		case <-tick.C:
		}
	}
}

// explain says beside what is missing why it may be.
func (x *enforcer) explain(err error) error {
	if s := x.stream(); !s.Connected {
		return fmt.Errorf("%w; the control plane is not connected: %s", err, orElse(s.Error, "no answer yet"))
	}
	return err
}

// Check implements cni.Handler.
func (x *enforcer) Check(_ context.Context, r cni.Request) error { return x.ready(x.uidOf(r)) }

// Del implements cni.Handler. The pod is judged until its interface has gone, which is seen.
func (*enforcer) Del(context.Context, cni.Request) error { return nil }

func (x *enforcer) ready(uid string) error {
	x.mu.Lock()
	hooked := x.hooked
	x.mu.Unlock()
	if !hooked {
		return errors.New("policy is not enforced on this node yet")
	}
	return x.engine.Ready(uid)
}

// uidOf is how the API server names a pod: a static pod by another UID than the kubelet.
func (x *enforcer) uidOf(r cni.Request) string {
	if len(r.UID) != staticUID {
		return r.UID
	}
	for _, e := range x.engine.Endpoints() {
		if e.Namespace == r.Namespace && e.Name == r.Name && e.UID != r.UID && e.State != enforce.Gone {
			return e.UID
		}
	}
	return r.UID
}

// renewNow attaches a pod whatever else is known.
func (x *enforcer) renewNow(uid string) error {
	for _, e := range x.engine.Endpoints() {
		if e.UID == uid {
			return x.put(e)
		}
	}
	return nil
}
