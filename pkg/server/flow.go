package server

import (
	"log/slog"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/translate"
)

// Flow is the stages from the tables to the snapshots. Nothing runs until somebody runs or applies.
type Flow struct {
	Engine   *table.Engine
	Resolved *resolve.Resolved
	// Statuses are what the author of each object is told, by resolve.StatusKey.
	Statuses *table.Output[*model.ObjectStatus]
	// Broken are the cluster's nodes that are not ready, by name.
	Broken *table.Output[bool]
	Source snapshot.Source
	// directory tells what runs where.
	directory *directory
}

// NewFlow declares every table.
func NewFlow(mesh resolve.Config, opts table.Options) *Flow {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	e := table.New(opts)
	res := resolve.New(e, mesh)
	statuses := table.Publish(res.Statuses)
	broken := table.Publish(table.NewDerived(e, "broken nodes", func(r *table.Reader, name string) (bool, bool) {
		n, ok := table.Get(r, res.Inputs.Nodes, name)
		return true, ok && !n.Ready
	}, []table.Trigger{res.Inputs.Nodes}))
	return &Flow{
		Engine: e, Resolved: res, Statuses: statuses, Broken: broken, Source: translate.New(e, res).Source(), directory: newDirectory(e, res),
	}
}

// Directory tells what the cluster runs, as the authority asks it.
func (f *Flow) Directory() ca.Directory { return f.directory }

// NotReady gives the cluster's nodes that are not ready.
func (f *Flow) NotReady() map[string]bool {
	snap := f.Engine.Snapshot()
	if f.Broken.Len(snap) == 0 {
		return nil
	}
	out := map[string]bool{}
	f.Broken.Range(snap, func(name string, _ bool) bool {
		out[name] = true
		return true
	})
	return out
}

// EachStatus calls fn for the status of every object in the latest snapshot, in the order of their keys.
func (f *Flow) EachStatus(fn func(*model.ObjectStatus)) {
	f.Statuses.Range(f.Engine.Snapshot(), func(_ string, s *model.ObjectStatus) bool {
		fn(s)
		return true
	})
}

// wanter is a reader of kinds that are not read together, which can prove how far each of them is.
type wanter interface{ Want(position uint64) bool }

// wanting passes on to the reader what streams wait for.
type wanting struct {
	snapshot.Source
	reader wanter
}

// Want implements snapshot.Source.
func (w wanting) Want(position uint64) bool { return w.reader.Want(position) }
