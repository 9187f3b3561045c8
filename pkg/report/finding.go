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
	for i := range p.Objects {
		out = append(out, p.Objects[i].findings()...)
	}
	return Ordered(out)
}

func (o *Object) findings() []Finding {
	var located, summary []Finding
	for i := range o.Conditions {
		for _, f := range o.of(&o.Conditions[i]) {
			if f.Path == "" {
				summary = append(summary, f)
			} else {
				located = append(located, f)
			}
		}
	}
	// What stands at no field of an object with faults at fields sums those up ("see the conditions of …").
	if !slices.ContainsFunc(located, func(f Finding) bool { return f.Severity == Error }) {
		located = append(located, summary...)
	}
	if o.Programmed != nil {
		for _, r := range o.Programmed.Rejected {
			located = append(located, Finding{
				File: o.File, Line: o.Line, Severity: Error, Object: o.Ref, Type: "Programmed", Reason: "Rejected",
				Message: "Envoy refuses " + r.Type + " " + r.Resource + ": " + r.Message,
			})
		}
	}
	return located
}

// of gives the faults in a condition. A listener is named when the message leaves it out.
func (o *Object) of(c *Condition) (out []Finding) {
	if !c.Warning && !c.Bad() {
		return nil
	}
	for _, p := range c.parts {
		f := Finding{
			File: o.File, Line: p.line, Severity: Error, Object: o.Ref, Path: p.path, Type: c.Type, Reason: c.Reason, Message: p.message,
		}
		if c.Warning {
			f.Severity = Warning
		}
		if c.Listener != "" && !strings.Contains(f.Message, c.Listener) {
			f.Message = "listener " + c.Listener + ": " + f.Message
		}
		out = append(out, f)
	}
	return out
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
