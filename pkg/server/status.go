package server

import (
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/report"
)

// Status is what is said about every object now: the conditions of the latest snapshot, what the nodes' Envoys made of it,
// and the problems of files.
func (s *Server) Status() report.Page {
	page := report.Page{Objects: []report.Object{}, Problems: s.sink.allProblems()}
	s.flow.EachStatus(func(st *model.ObjectStatus) {
		o := report.Of(st, s.sink.textOf(st.Ref))
		o.Programmed = programmed(s.push.Status().For(st.Ref))
		page.Objects = append(page.Objects, o)
	})
	page.Sort()
	return page
}

// programmed converts; an object without a part in any resource has nothing to be programmed.
func programmed(o push.OriginStatus) *report.Programmed {
	if o.Resources == 0 {
		return nil
	}
	p := &report.Programmed{Status: o.Programmed(), Resources: o.Resources, Clients: o.Clients, Behind: o.Behind}
	for _, r := range o.Rejected {
		p.Rejected = append(p.Rejected, report.Rejection{Node: r.Node, Type: push.ShortType(r.Type), Resource: r.Name, Message: r.Message})
	}
	return p
}
