package model

import (
	"strconv"
	"strings"
	"time"
)

// Ref names one source object. Group is empty for the core group; Namespace is empty for cluster-scoped kinds.
type Ref struct {
	Group, Kind, Namespace, Name string
}

// Key is the table key of the object: "namespace/name", or "name" when it is cluster-scoped.
func (r Ref) Key() string { return Key(r.Namespace, r.Name) }

// String is how people see the object: "VirtualService prod/reviews".
func (r Ref) String() string { return r.Kind + " " + r.Key() }

// Key joins a namespace and a name into a table key.
func Key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// SplitKey is the inverse of Key.
func SplitKey(key string) (namespace, name string) {
	ns, n, ok := strings.Cut(key, "/")
	if !ok {
		return "", key
	}
	return ns, n
}

// Meta is what every source object carries beside its own fields.
type Meta struct {
	Ref
	// Version is the API version that the object was written in, without the group ("v1", "v1beta1").
	Version string
	UID     string
	// Generation counts changes of the desired state; status conditions quote it as observedGeneration.
	Generation int64
	// ResourceVersion is opaque; with UID it tells two readings of one object apart.
	ResourceVersion string
	Created         time.Time
	Labels          map[string]string
	Annotations     map[string]string
	// Text is where the object was read in a file; nil for objects of an API server.
	Text *Text
	// Issues are what the reader of the object found: unknown fields, values that do not parse.
	Issues []FieldIssue
}

// GetMeta gives the common part of any source object, all of which embed a Meta.
func (m *Meta) GetMeta() *Meta { return m }

// Older tells whether m wins a tie against o: the older object does, then the lower namespace/name (Gateway API,
// "Conflicts"; Istio orders the same way).
func (m *Meta) Older(o *Meta) bool {
	if !m.Created.Equal(o.Created) {
		return m.Created.Before(o.Created)
	}
	if m.Namespace != o.Namespace {
		return m.Namespace < o.Namespace
	}
	if m.Name != o.Name {
		return m.Name < o.Name
	}
	return m.Group < o.Group
}

// Text is the place of an object in a file. Lines maps a field path ("spec.http[0].route") to its line, from 1.
type Text struct {
	File  string
	Line  int
	Lines map[string]int
}

// LineOf gives the line of a field path, or of the nearest parent that has one. Zero when t is nil.
func (t *Text) LineOf(path string) int {
	if t == nil {
		return 0
	}
	for p := path; p != ""; {
		if l, ok := t.Lines[p]; ok {
			return l
		}
		cut := strings.LastIndexAny(p, ".[")
		if cut < 0 {
			break
		}
		p = p[:cut]
	}
	return t.Line
}

// At is "file:line" of a field path, or empty.
func (t *Text) At(path string) string {
	if t == nil {
		return ""
	}
	return t.File + ":" + strconv.Itoa(t.LineOf(path))
}

// FieldIssue is something wrong with one field of an object.
type FieldIssue struct {
	// Path is the field, as in "spec.http[0].fault.delay".
	Path string
	// Message says what is wrong and what to do.
	Message string
	// Unknown is set for a field that the kind does not have; it is named, not obeyed.
	Unknown bool
}

// Object is a source object whose specification is S, a plain API type.
type Object[S any] struct {
	Meta
	Spec S
}

// Same tells whether m and o are two readings of one object in one version.
func (m *Meta) Same(o *Meta) bool {
	return m.Ref == o.Ref && m.UID == o.UID && m.ResourceVersion == o.ResourceVersion && m.ResourceVersion != ""
}
