package resolve

import "fairlead.io/fairlead/pkg/table"

// Fixed is a trigger whose keys are always there: for outputs that exist whatever the sources hold.
func (*Resolved) Fixed(e *table.Engine, name string, keys []string) table.Trigger {
	t := table.NewSource[bool](e, name)
	b := e.NewBatch()
	for _, k := range keys {
		t.Set(b, k, true)
	}
	e.Submit(b)
	return t
}
