// Package report is what people are told about their objects: conditions with file and line, problems of files, and what the
// nodes' Envoys said.
//
// It stands beside the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK: resolve
// gives the conditions, push the answers of the nodes, and `check`, the admin server and the demo print a report.
package report

import (
	"cmp"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

// Ref names an object in JSON.
type Ref struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// RefOf converts a model reference.
func RefOf(r model.Ref) Ref { return Ref{r.Group, r.Kind, r.Namespace, r.Name} }

// String is how people see the object: "VirtualService prod/reviews"; empty when nothing is named.
func (r Ref) String() string {
	switch {
	case r.Kind == "":
		return ""
	case r.Name == "":
		return r.Kind
	}
	return r.Kind + " " + model.Key(r.Namespace, r.Name)
}

// Condition is one thing said about an object.
type Condition struct {
	Type    string `json:"type"`
	Status  bool   `json:"status"`
	Warning bool   `json:"warning,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Path is the field and At its "file:line" when the object was read from a file.
	Path string `json:"path,omitempty"`
	At   string `json:"at,omitempty"`
	// Parent is the Gateway ("Gateway shop/edge#https") that a route's condition is about, Listener a Gateway's listener.
	Parent   string `json:"parent,omitempty"`
	Listener string `json:"listener,omitempty"`

	parts []part
}

// Bad tells that the condition is a fault. Some of Gateway API's types say something bad when they are true.
func (c *Condition) Bad() bool {
	switch c.Type {
	case "Conflicted", "PartiallyInvalid", "OverlappingTLSConfig":
		return c.Status
	}
	return !c.Status
}

// Programmed is what the nodes' Envoys made of an object.
type Programmed struct {
	Status    bool `json:"status"`
	Resources int  `json:"resources"` // that the object has a part in
	Clients   int  `json:"clients"`   // nodes that count, at all replicas
	Behind    int  `json:"behind"`    // nodes that have not been through the object's last change
	// BehindNodes names the first ones of them.
	BehindNodes []string `json:"behindNodes,omitempty"`
	// Rejected are the refusals that stand, in Envoy's words.
	Rejected []Rejection `json:"rejected,omitempty"`
}

// Rejection is one node's refusal of one resource.
type Rejection struct {
	Node     string `json:"node"`
	Type     string `json:"type"`
	Resource string `json:"resource"`
	Message  string `json:"message"`
}

// Object is all that is said about one object.
type Object struct {
	Ref
	File       string      `json:"file,omitempty"`
	Line       int         `json:"line,omitempty"`
	Generation int64       `json:"generation,omitempty"`
	Conditions []Condition `json:"conditions"`
	Programmed *Programmed `json:"programmed,omitempty"`
}

// Problem is a fault of a file that no object carries.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Object  Ref    `json:"object,omitzero"`
	Message string `json:"message"`
}

// Absent is a node that has gone, or is broken, and so does not count.
type Absent struct {
	Node   string    `json:"node"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// Page is a whole report.
type Page struct {
	Objects  []Object  `json:"objects"`
	Problems []Problem `json:"problems"`
	// Absent are the nodes that do not count.
	Absent []Absent `json:"absent,omitempty"`
}

// Of converts the status of an object; text is where it was read, or nil.
func Of(s *model.ObjectStatus, text *model.Text) Object {
	o := Object{Ref: RefOf(s.Ref), Generation: s.Generation, Conditions: []Condition{}}
	if text != nil {
		o.File, o.Line = text.File, text.Line
	}
	add := func(list []model.Condition, parent, listener string) {
		for _, c := range list {
			o.Conditions = append(o.Conditions, Condition{
				Type: c.Type, Status: c.Status, Warning: c.Warning, Reason: c.Reason, Message: c.Message, Path: c.Path,
				At: text.At(c.Path), Parent: parent, Listener: listener, parts: split(&c, text),
			})
		}
	}
	add(s.Conditions, "", "")
	for _, p := range s.Parents {
		name := p.Parent.String()
		if p.Section != "" {
			name += "#" + p.Section
		}
		add(p.Conditions, name, "")
	}
	for _, l := range s.Listeners {
		add(l.Conditions, "", l.Name)
	}
	return o
}

// ProblemOf converts a problem of a source.
func ProblemOf(p source.Problem) Problem {
	return Problem{File: p.File, Line: p.Line, Object: RefOf(p.Ref), Message: p.Message}
}

// Sort orders a page by kind, then by object, and its problems by file and line.
func (p *Page) Sort() {
	slices.SortFunc(p.Objects, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(p.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
}
