package server

import (
	"context"
	"slices"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/table"
)

// directory answers ca.Directory from the published tables. Before everything has been read it knows nobody.
type directory struct {
	engine    *table.Engine
	domain    string // the cluster's
	pods      *table.Output[*resolve.Resident]
	places    *table.Output[bool]
	accounts  *table.Output[bool]
	nodes     *table.Output[string]
	selectors *table.Output[*resolve.Selector]
	gateways  *table.Output[bool]
}

func newDirectory(e *table.Engine, res *resolve.Resolved) *directory {
	return &directory{
		engine: e, domain: res.Config.ClusterDomain,
		pods: table.Publish(res.Residents.Pods), places: table.Publish(res.Residents.Places),
		accounts: table.Publish(res.Residents.Accounts), nodes: table.Publish(res.Residents.NodeUIDs),
		selectors: table.Publish(res.Residents.Selectors), gateways: table.Publish(res.Residents.Gateways),
	}
}

var _ ca.Directory = (*directory)(nil)

// Pod implements ca.Directory.
func (d *directory) Pod(namespace, name string) (ca.Pod, bool) {
	p, ok := d.pods.Get(d.engine.Snapshot(), model.Key(namespace, name))
	if !ok || p.Namespace != namespace || p.Name != name {
		return ca.Pod{}, false
	}
	return ca.Pod{PodRef: ca.PodRef{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ServiceAccount: p.ServiceAccount}, Node: p.Node}, true
}

// RunsOn implements ca.Directory.
func (d *directory) RunsOn(node, namespace, serviceAccount string) bool {
	if node == "" || namespace == "" || serviceAccount == "" {
		return false
	}
	_, ok := d.places.Get(d.engine.Snapshot(), resolve.Place(node, namespace, serviceAccount))
	return ok
}

// Runs implements ca.Directory.
func (d *directory) Runs(namespace, serviceAccount string) bool {
	if namespace == "" || serviceAccount == "" {
		return false
	}
	_, ok := d.accounts.Get(d.engine.Snapshot(), model.Key(namespace, serviceAccount))
	return ok
}

// Node implements ca.Directory.
func (d *directory) Node(name string) (string, bool) { return d.nodes.Get(d.engine.Snapshot(), name) }

// Gateway implements ca.Directory: every node serves every Gateway that has something to serve.
func (d *directory) Gateway(node, namespace, name string) bool {
	s := d.engine.Snapshot()
	_, known := d.nodes.Get(s, node)
	_, served := d.gateways.Get(s, model.Key(namespace, name))
	return known && served
}

// DNSNames implements ca.Directory.
func (d *directory) DNSNames(namespace, name string) []string {
	s := d.engine.Snapshot()
	p, ok := d.pods.Get(s, model.Key(namespace, name))
	if !ok || namespace == "" {
		return nil
	}
	var out []string
	d.selectors.Prefix(s, namespace+"/", func(_ string, svc *resolve.Selector) bool {
		if svc.Selects(p) {
			base := svc.Name + "." + svc.Namespace
			out = append(out, base, base+".svc", base+".svc."+d.domain)
		}
		return true
	})
	slices.Sort(out)
	return out
}

// follow says on moved when pods or nodes are others, until ctx ends.
func (d *directory) follow(ctx context.Context, moved chan<- struct{}) {
	seq := uint64(0)
	for {
		s := d.engine.Snapshot()
		if s.Seq > seq {
			changes, ok := s.ChangesSince(seq)
			if !ok || slices.ContainsFunc(changes, func(c table.Change) bool { return c.Table == d.pods.Name() || c.Table == d.nodes.Name() }) {
				select {
				case moved <- struct{}{}:
				default:
				}
			}
			seq = s.Seq
		}
		select {
		case <-ctx.Done():
			return
		case <-s.Next():
		}
	}
}
