package resolve

import (
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Trust is what certificates are verified with.
type Trust struct {
	// Bundles are those that are served, by trust domain; Status is what is said of all.
	Bundles *table.Derived[*model.TrustBundle]
	Status  *table.Derived[*model.ObjectStatus]
}

// newTrust declares the tables. A bundle that cannot be read is not served; nothing would be trusted by it.
func newTrust(e *table.Engine, in *Inputs) *Trust {
	t := &Trust{}
	t.Bundles = table.NewDerived(e, "trust", func(r *table.Reader, name string) (*model.TrustBundle, bool) {
		b, ok := table.Get(r, in.TrustBundles, name)
		return b, ok && len(b.Faults()) == 0
	}, []table.Trigger{in.TrustBundles})
	t.Status = table.NewDerived(e, "trust: status", func(r *table.Reader, name string) (*model.ObjectStatus, bool) {
		b, ok := table.Get(r, in.TrustBundles, name)
		if !ok {
			return nil, false
		}
		n := &notes{}
		for _, fault := range b.Faults() {
			n.refuse(reasonInvalid, "", "%s", fault)
		}
		return n.status(&b.Meta), true
	}, []table.Trigger{in.TrustBundles})
	return t
}

// SetTrust replaces the bundles of the named trust domains; one that is named and not given is no more.
func (in *Inputs) SetTrust(domains []string, bundles []*model.TrustBundle) {
	b := in.engine.NewBatch()
	given := map[string]bool{}
	for _, t := range bundles {
		given[t.Name] = true
		in.TrustBundles.Set(b, t.Name, t)
	}
	for _, name := range domains {
		if !given[name] {
			in.TrustBundles.Delete(b, name)
		}
	}
	in.engine.Submit(b)
}
