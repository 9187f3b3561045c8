package report

import (
	"cmp"
	"slices"
	"strings"
)

// Severity ranks findings.
type Severity string

// The severities: an error makes `check` fail.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is one thing that the author of a manifest should know.
type Finding struct {
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`
	Severity Severity `json:"severity"`
	Object   Ref      `json:"object,omitzero"`
	// Path is the field, empty for the object.
	Path string `json:"path,omitempty"`
	// Type and Reason are those of the condition; empty for a fault of the file.
	Type   string `json:"type,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Message says what is wrong and what to do.
	Message string `json:"message"`
}

// Findings lists the faults and warnings of a page by file and line, each once: a route that two parents refuse for one
// reason has one fault.
func (p *Page) Findings() []Finding {
	var out []Finding
	for _, pr := range p.Problems {
		out = append(out, Finding{File: pr.File, Line: pr.Line, Severity: Error, Object: pr.Object, Message: pr.Message})
	}
	for _, o := range p.Objects {
		for _, c := range o.Conditions {
			if f, ok := o.finding(&c); ok {
				out = append(out, f)
			}
		}
		if o.Programmed != nil {
			for _, r := range o.Programmed.Rejected {
				out = append(out, Finding{
					File: o.File, Line: o.Line, Severity: Error, Object: o.Ref, Type: "Programmed", Reason: "Rejected",
					Message: "Envoy refuses " + r.Type + " " + r.Resource + ": " + r.Message,
				})
			}
		}
	}
	return Ordered(out)
}

// finding is a condition that is worth a line. A listener or a parent is named when the message leaves it out.
func (o *Object) finding(c *Condition) (Finding, bool) {
	f := Finding{File: o.File, Line: c.line, Severity: Error, Object: o.Ref, Path: c.Path, Type: c.Type, Reason: c.Reason, Message: c.Message}
	switch {
	case c.Warning:
		f.Severity = Warning
	case !c.Bad():
		return Finding{}, false
	}
	f.Message = strings.TrimPrefix(f.Message, c.Path+": ")
	if c.Listener != "" && !strings.Contains(f.Message, c.Listener) {
		f.Message = "listener " + c.Listener + ": " + f.Message
	}
	return f, true
}

// Ordered sorts findings by file, line, severity and text, and drops those that say the same about the same line.
func Ordered(list []Finding) []Finding {
	rank := map[Severity]int{Error: 0, Warning: 1, Note: 2}
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(rank[a.Severity], rank[b.Severity]),
			cmp.Compare(a.Object.String(), b.Object.String()), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(list, func(a, b Finding) bool {
		return a.File == b.File && a.Line == b.Line && a.Object == b.Object && a.Path == b.Path && a.Message == b.Message
	})
}
