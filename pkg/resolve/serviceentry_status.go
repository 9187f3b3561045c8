package resolve

import (
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// newServiceEntryStatus declares what is said about ServiceEntries.
func newServiceEntryStatus(e *table.Engine, in *Inputs, hosts *Hosts) *table.Derived[*model.ObjectStatus] {
	return table.NewDerived(e, "service entry status", func(r *table.Reader, key string) (*model.ObjectStatus, bool) {
		se, ok := table.Get(r, in.ServiceEntries, key)
		if !ok {
			return nil, false
		}
		n := &notes{}
		served := entryServed(se, n)
		for i := range se.Spec.Hosts {
			if entryHostServed(se, i, n) && served {
				hosts.claim(r, se, i, n)
			}
		}
		if len(se.Spec.Hosts) == 0 {
			n.refuse(reasonInvalid, "spec.hosts", "at least one host is needed")
		}
		entryAddresses(&se.Spec, n)
		if ports := entryPorts(&se.Spec, n); len(ports) == 0 {
			n.warn(reasonInvalid, "spec.ports", "there is no port that could be served; add one")
		}
		entryEndpoints(&se.Spec, n)
		for i, name := range se.Spec.SubjectAltNames {
			if name == "" {
				n.refuse(reasonInvalid, indexed("spec.subjectAltNames", i), "an empty name is carried by no certificate")
			}
		}
		return n.status(&se.Meta), true
	}, []table.Trigger{in.ServiceEntries})
}

// claim says when a host of a ServiceEntry is another object's.
func (h *Hosts) claim(r *table.Reader, se *ServiceEntry, i int, n *notes) {
	name := plainHost(se.Spec.Hosts[i])
	v, ok := table.Get(r, h.Table, model.Key(se.Namespace, name))
	if ok && v.Origin != se.Ref {
		n.refuse(reasonConflict, indexed("spec.hosts", i), "%s is already defined by %s; rename the host, or remove one of the two", name, v.Origin)
	}
}

// newWorkloadEntryStatus declares what is said about WorkloadEntries.
func newWorkloadEntryStatus(e *table.Engine, in *Inputs) *table.Derived[*model.ObjectStatus] {
	return table.NewDerived(e, "workload entry status", func(r *table.Reader, key string) (*model.ObjectStatus, bool) {
		w, ok := table.Get(r, in.WorkloadEntries, key)
		if !ok {
			return nil, false
		}
		n := &notes{}
		we, ok := workloadEndpoint(&w.Spec, "spec", n)
		if ok && !isAddr(we.Address) {
			n.warn(reasonInvalid, "spec.address", "%q is a name: only ServiceEntries with resolution DNS that select it use it", we.Address)
		}
		if len(w.Spec.Labels) == 0 {
			n.warn(reasonUnresolved, "spec.labels", "without labels nothing selects it; give it those that a ServiceEntry or a Service selects")
		}
		return n.status(&w.Meta), true
	}, []table.Trigger{in.WorkloadEntries})
}
