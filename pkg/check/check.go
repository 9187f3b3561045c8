package check

import (
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/files"
)

// Page joins what the files hold with what resolve says of their objects. refused is what Envoy said of each object.
func Page(read files.Contents, statuses []*model.ObjectStatus, refused map[model.Ref][]report.Rejection) report.Page {
	page := report.Page{}
	texts, rest := index(read.Updates)
	for _, s := range statuses {
		o := report.Of(s, texts[s.Ref])
		delete(rest, s.Ref)
		reject(&o, refused[s.Ref])
		page.Objects = append(page.Objects, o)
	}
	// Kinds without conditions of their own (Service, Secret …) may still have fields that nobody knows, or break Envoy.
	for ref, meta := range rest {
		o := report.Of(&model.ObjectStatus{Ref: ref, Conditions: issues(meta)}, meta.Text)
		reject(&o, refused[ref])
		page.Objects = append(page.Objects, o)
	}
	for _, p := range read.Problems {
		page.Problems = append(page.Problems, report.ProblemOf(p))
	}
	page.Sort()
	return page
}

func reject(o *report.Object, list []report.Rejection) {
	if len(list) > 0 {
		o.Programmed = &report.Programmed{Rejected: list}
	}
}

func index(updates []source.Update) (map[model.Ref]*model.Text, map[model.Ref]*model.Meta) {
	texts, metas := map[model.Ref]*model.Text{}, map[model.Ref]*model.Meta{}
	for _, u := range updates {
		if o, ok := u.Object.(interface{ GetMeta() *model.Meta }); ok {
			texts[u.Ref], metas[u.Ref] = o.GetMeta().Text, o.GetMeta()
		}
	}
	return texts, metas
}

// issues are what the reader found in an object that has no status.
func issues(m *model.Meta) (out []model.Condition) {
	for _, i := range m.Issues {
		c := model.Condition{Type: "Accepted", Reason: "Invalid", Path: i.Path, Message: i.Message}
		if i.Unknown {
			c.Status, c.Warning, c.Reason = true, true, "UnknownField"
		}
		out = append(out, c)
	}
	return out
}

// Findings are a page's, and the files' objects that are none of Fairlead's business as notes.
func Findings(page *report.Page, notes []source.Problem) []report.Finding {
	out := page.Findings()
	for _, n := range notes {
		out = append(out, report.Finding{File: n.File, Line: n.Line, Severity: report.Note, Object: report.RefOf(n.Ref), Message: n.Message})
	}
	return report.Ordered(out)
}
