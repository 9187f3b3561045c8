package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/pkg/node/cni"
	"fairlead.io/fairlead/pkg/node/control"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/endpoints"
	"fairlead.io/fairlead/pkg/node/enforce"
	"fairlead.io/fairlead/pkg/node/flows"
)

// PolicyConfig is what enforcing policy takes.
type PolicyConfig struct {
	// Dir is a directory of a bpffs that programs and maps are pinned in; State one that lives as long as they do, for the names of
	// the numbers in the maps.
	Dir, State string
	// Namespace is the path of the node's network namespace; empty is this process's.
	Namespace string
	// Proc is a proc filesystem of the node's process namespace; /proc unless set.
	Proc     string
	Sizes    datapath.Sizes
	Priority int32
	// Audit has everything pass, and told.
	Audit bool
	// Flows is the path of a Unix socket where flows are told (Hubble's observer API); empty is not served. KeptFlows is how many are
	// kept; 4,096 unless set.
	Flows     string
	KeptFlows int
	// CNI is the path of a Unix socket that the CNI plugin asks at; empty is not served. Installer puts the plugin into the node's
	// configuration; nil does not.
	CNI       string
	Installer *cni.Installer
}

// enforcer enforces policy: it finds pods, and has their traffic judged.
type enforcer struct {
	cfg    PolicyConfig
	log    *slog.Logger
	data   *datapath.Datapath
	engine *enforce.Engine
	flows  *flows.Observer
	host   *endpoints.Host
	file   *placeFile
	stream func() control.State
	// erased are Sets that are no more in the kernel, withdrawn flows that are allowed no more.
	erased    chan uint32
	withdrawn chan datapath.Event

	mu sync.Mutex // guards what follows
	// attached are by UID, as the kernel has them.
	attached map[string]attachment
	hosts    []netip.Addr
	hooked   bool // the host's programs are attached
	synced   bool // everything that is enforced here was known once
	problem  string
}

// attachment is a pod whose traffic passes the programs.
type attachment struct {
	Place    endpoints.Place
	Endpoint datapath.Endpoint
}

// newEnforcer goes on with what is in the kernel.
func newEnforcer(cfg PolicyConfig, node, version string, log *slog.Logger, reg prometheus.Registerer) (*enforcer, error) {
	host, err := endpoints.Open(cfg.Namespace)
	if err != nil {
		return nil, err
	}
	x := &enforcer{cfg: cfg, log: log, host: host, file: &placeFile{path: filepath.Join(cfg.State, "endpoints.json")}, attached: map[string]attachment{}, erased: make(chan uint32, 1024), withdrawn: make(chan datapath.Event, 1024)}
	err = x.open(node, reg)
	if err == nil {
		err = x.newFlows(node, version, flows.Config{Log: log, Registry: reg, Capacity: cfg.KeptFlows})
	}
	if err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *enforcer) open(node string, reg prometheus.Registerer) (err error) {
	if x.data, err = datapath.Open(datapath.Config{Dir: x.cfg.Dir, Sizes: x.cfg.Sizes, Priority: x.cfg.Priority, Audit: x.cfg.Audit, Log: x.log}); err != nil {
		return fmt.Errorf("open data path: %w", err)
	}
	x.engine, err = enforce.New(enforce.Config{
		Kernel: x.data, Node: node, Names: filepath.Join(x.cfg.State, "names"), Log: x.log, Registry: reg, Erased: x.setErased,
		Identities: cmp.Or(x.cfg.Sizes.Identities, 1<<16) - 1, Sets: cmp.Or(x.cfg.Sizes.Sets, 1<<13) - 1,
		Addresses: x.cfg.Sizes.Addresses, Rules: x.cfg.Sizes.Rules,
	})
	if err != nil {
		return err
	}
	if err := x.hostAddresses(); err != nil {
		return err
	}
	x.synced = x.data.Adopted()
	return x.adopt()
}

// setErased must not wait; counters that are forgotten to be forgotten are a little more to count.
func (x *enforcer) setErased(set uint32) {
	select {
	case x.erased <- set:
	default:
	}
}

// adopt takes up the pods that are attached since before the start.
func (x *enforcer) adopt() error {
	before, err := x.file.read()
	if err != nil {
		x.log.Warn("which pods were attached is not known by name; they are found again", "error", err)
	}
	byInterface := map[uint32]string{}
	for uid, p := range before {
		byInterface[p.Interface] = uid
	}
	var list []datapath.Endpoint
	if err := x.data.Endpoints(func(e datapath.Endpoint) bool { list = append(list, e); return true }); err != nil {
		return err
	}
	for _, e := range list {
		uid := byInterface[e.Interface]
		place := before[uid]
		if uid == "" {
			uid = fmt.Sprintf("interface/%d", e.Interface)
			place = endpoints.Place{Interface: e.Interface, MAC: e.MAC, Router: e.Router, Bridge: e.Bridge}
		}
		if _, is := x.host.Is(place); !is {
			if err := x.data.Detach(e.Interface); err != nil {
				return err
			}
			continue
		}
		x.attached[uid] = attachment{place, e}
		if err := x.engine.Attached(uid, e.Interface, e.Addresses); err != nil {
			return err
		}
		// Attached anew, its links run this binary's programs.
		if err := x.host.Do(func() error { return x.data.Attach(e) }); err != nil {
			return err
		}
	}
	return nil
}

func (x *enforcer) close() {
	if x.data != nil {
		_ = x.data.Close()
	}
	_ = x.host.Close()
}

// How often everything is looked at without a reason, and with pods that are not found yet.
const (
	slowLook = 5 * time.Second
	fastLook = 200 * time.Millisecond
)

// run follows pods and interfaces until ctx ends. Ready tells whether all that the control plane has to say was heard once.
func (x *enforcer) run(ctx context.Context, ready func() bool) error {
	events, err := x.host.Watch(ctx, x.log)
	if err != nil {
		return err
	}
	for {
		_, _, changed := x.engine.Wanted()
		missing, err := x.reconcile(ready)
		if err != nil {
			x.log.Warn("not all pods are attached; it is tried again", "error", err)
		}
		wait := slowLook
		if missing || err != nil {
			wait = fastLook
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changed:
		case _, ok := <-events:
			if !ok {
				events = nil // from now on it is looked now and then
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// reconcile attaches what is to be attached, and tells whether something is missing.
func (x *enforcer) reconcile(ready func() bool) (missing bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	errs := []error{x.hostAddresses(), x.dropGone()}
	x.synced = x.synced || ready()
	var spaces map[string]string
	for _, e := range x.engine.Endpoints() {
		if e.State != enforce.Unattached {
			errs = append(errs, x.renew(e))
			continue
		}
		if len(e.Addresses) == 0 {
			continue
		}
		if spaces == nil {
			if spaces, err = x.host.Namespaces(x.proc()); err != nil {
				errs = append(errs, err)
				spaces = map[string]string{}
			}
		}
		place, err := x.find(e, spaces[e.UID])
		if err != nil {
			missing = true
			x.log.Debug("pod is not found", "pod", e.Namespace+"/"+e.Name, "error", err)
			continue
		}
		errs = append(errs, x.attach(e.UID, place, e.Addresses))
	}
	errs = append(errs, x.enforceAll(), x.install())
	err = errors.Join(errs...)
	if x.problem = ""; err != nil {
		x.problem = err.Error()
	}
	return missing || !x.synced, err
}

// find looks for a pod by its network namespace, when a process shows it, else by its addresses.
func (x *enforcer) find(e enforce.Endpoint, space string) (endpoints.Place, error) {
	var errs []error
	if space != "" {
		p, addresses, err := x.host.In(space, "")
		if err == nil && slices.ContainsFunc(e.Addresses, func(a netip.Addr) bool { return slices.Contains(addresses, a) }) {
			return p, nil
		}
		errs = append(errs, err)
	}
	for _, a := range e.Addresses {
		p, err := x.host.At(a)
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	return endpoints.Place{}, errors.Join(errs...)
}

// attach has a pod's traffic judged. Before everything was known once, it is not yet; but in the maps it is.
func (x *enforcer) attach(uid string, p endpoints.Place, addresses []netip.Addr) error {
	for other, a := range x.attached {
		if other != uid && a.Place.Interface == p.Interface {
			delete(x.attached, other)
			if err := x.engine.Detached(other); err != nil {
				return err
			}
		}
	}
	if err := x.engine.Attached(uid, p.Interface, addresses); err != nil {
		return err
	}
	x.attached[uid] = attachment{Place: p}
	x.log.Info("pod found", "uid", uid, "interface", p.Name, "addresses", addresses)
	return x.file.write(x.places())
}

func (x *enforcer) places() map[string]endpoints.Place {
	out := make(map[string]endpoints.Place, len(x.attached))
	for uid, a := range x.attached {
		out[uid] = a.Place
	}
	return out
}

// renew follows what has changed of an endpoint.
func (x *enforcer) renew(e enforce.Endpoint) error {
	if !x.synced {
		return nil
	}
	return x.put(e)
}

// put has the kernel know of an endpoint what is known here.
func (x *enforcer) put(e enforce.Endpoint) error {
	a, ok := x.attached[e.UID]
	if !ok {
		return nil
	}
	want := datapath.Endpoint{
		Interface: a.Place.Interface, MAC: a.Place.MAC, Router: a.Place.Router, Bridge: a.Place.Bridge,
		Addresses: e.Addresses[:min(len(e.Addresses), datapath.MaxAddresses)], Identity: e.Number,
	}
	if want.Interface == a.Endpoint.Interface && want.MAC == a.Endpoint.MAC && want.Router == a.Endpoint.Router &&
		want.Bridge == a.Endpoint.Bridge && want.Identity == a.Endpoint.Identity && slices.Equal(want.Addresses, a.Endpoint.Addresses) {
		return nil
	}
	if err := x.host.Do(func() error { return x.data.Attach(want) }); err != nil {
		return fmt.Errorf("attach pod %s/%s at %s: %w", e.Namespace, e.Name, a.Place.Name, err)
	}
	a.Endpoint = want
	x.attached[e.UID] = a
	return nil
}

// enforceAll attaches what has been found, as soon as everything was known once, and the host's programs after all pods.
func (x *enforcer) enforceAll() error {
	if !x.synced {
		return nil
	}
	var errs []error
	for _, e := range x.engine.Endpoints() {
		errs = append(errs, x.renew(e))
	}
	if !x.hooked {
		err := x.host.Do(x.data.AttachHost)
		x.hooked = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// install keeps the plugin in the node's CNI configuration, once it can be answered.
func (x *enforcer) install() error {
	if x.cfg.Installer == nil || !x.hooked {
		return nil
	}
	changed, err := x.cfg.Installer.Install()
	if changed {
		x.log.Info("CNI plugin installed", "configuration", x.cfg.Installer.ConfDir)
	}
	if errors.Is(err, cni.ErrNoConfig) {
		x.log.Debug("CNI plugin waits", "reason", err)
		return nil
	}
	return err
}

// dropGone detaches pods whose interface has gone, and follows what has changed of the others.
func (x *enforcer) dropGone() error {
	gone := false
	for _, uid := range slices.Sorted(maps.Keys(x.attached)) {
		a := x.attached[uid]
		now, is := x.host.Is(a.Place)
		if is {
			a.Place = now
			x.attached[uid] = a
			continue
		}
		if err := errors.Join(x.data.Detach(a.Place.Interface), x.engine.Detached(uid)); err != nil {
			return err
		}
		x.log.Info("pod's interface has gone", "uid", uid, "interface", a.Place.Name)
		delete(x.attached, uid)
		gone = true
	}
	if gone {
		return x.file.write(x.places())
	}
	return nil
}

func (x *enforcer) hostAddresses() error {
	list, err := x.host.Addresses()
	if err != nil {
		return err
	}
	if slices.Equal(list, x.hosts) {
		return nil
	}
	x.hosts = list
	return x.engine.Hosts(list)
}

// PolicyStatus is what /api/status tells of policy.
type PolicyStatus struct {
	// Enforcing is false until everything was known once.
	Enforcing bool               `json:"enforcing"`
	Audit     bool               `json:"audit,omitempty"`
	Problem   string             `json:"problem,omitempty"`
	Endpoints []enforce.Endpoint `json:"endpoints"`
	Counts    enforce.Counts     `json:"counts"`
}

func (x *enforcer) status() *PolicyStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	return &PolicyStatus{Enforcing: x.hooked, Audit: x.cfg.Audit, Problem: x.problem, Endpoints: x.engine.Endpoints(), Counts: x.engine.Count()}
}
