package server

import (
	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/report"
)

// Status is what is said about every object now: the conditions of the latest snapshot, what the nodes' Envoys made of it at
// all replicas, and the problems of files.
func (s *Server) Status() report.Page {
	page := report.Page{Objects: []report.Object{}, Problems: s.sink.allProblems()}
	for _, n := range s.barrier.All() {
		o := report.Of(n.Status, s.sink.textOf(n.Status.Ref))
		o.Programmed = programmed(&n)
		page.Objects = append(page.Objects, o)
	}
	for _, a := range s.barrier.Absent() {
		page.Absent = append(page.Absent, report.Absent{Node: a.Node, Since: a.Since, Reason: a.Reason})
	}
	page.Sort()
	return page
}

// programmed converts; an object without a part in any resource has nothing to be programmed.
func programmed(n *barrier.Named) *report.Programmed {
	if n.Fate.Resources == 0 {
		return nil
	}
	p := &report.Programmed{
		Status: n.Fate.Programmed(), Resources: n.Fate.Resources, Clients: n.Fate.Clients,
		Behind: len(n.Behind) + n.More, BehindNodes: n.Behind,
	}
	for _, r := range n.Fate.Rejected {
		p.Rejected = append(p.Rejected, report.Rejection{Node: r.Node, Type: push.ShortType(r.Type), Resource: r.Resource, Message: r.Message})
	}
	return p
}
