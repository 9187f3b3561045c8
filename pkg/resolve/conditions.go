package resolve

import (
	"fmt"

	"fairlead.io/fairlead/pkg/model"
)

// The condition type of our kinds that resolve decides on, and its reasons.
const (
	conditionAccepted = "Accepted"

	reasonAccepted    = "Accepted"
	reasonInvalid     = "Invalid"
	reasonUnresolved  = "UnresolvedReference"
	reasonConflict    = "Conflict"
	reasonUnsupported = "UnsupportedField"
)

// fieldWarnings are what the reader of an object found in it. A field that does not exist is a warning; a value that the
// kind cannot hold makes the object false, since a part of what its author wrote is missing.
func fieldWarnings(m *model.Meta) []model.Condition {
	var out []model.Condition
	for _, i := range m.Issues {
		c := model.Condition{Type: conditionAccepted, Path: i.Path, Reason: reasonInvalid, Message: named(i.Path, i.Message)}
		if i.Unknown {
			c.Status, c.Warning, c.Reason = true, true, reasonUnsupported
		}
		out = append(out, c)
	}
	return out
}

// broken tells that a part of the object could not be read, so that it must not be obeyed.
func broken(m *model.Meta) bool {
	for _, i := range m.Issues {
		if !i.Unknown {
			return true
		}
	}
	return false
}

func named(path, message string) string {
	if path == "" {
		return message
	}
	return path + ": " + message
}

// notes gathers what is to be said about one object. A nil one forgets: the same code then only computes.
type notes struct{ list []model.Condition }

func (n *notes) add(status bool, reason, path, format string, args ...any) {
	if n == nil {
		return
	}
	n.list = append(n.list, model.Condition{
		Type: conditionAccepted, Status: status, Warning: status, Reason: reason, Path: path,
		Message: named(path, fmt.Sprintf(format, args...)),
	})
}

// refuse makes the object false: what stands at path is not obeyed.
func (n *notes) refuse(reason, path, format string, args ...any) {
	n.add(false, reason, path, format, args...)
}

// warn says that something at path has no effect, or another than it seems.
func (n *notes) warn(reason, path, format string, args ...any) {
	n.add(true, reason, path, format, args...)
}

// status completes the notes to the status of an object: without a false condition, it is accepted.
func (n *notes) status(m *model.Meta) *model.ObjectStatus {
	s := &model.ObjectStatus{Ref: m.Ref, UID: m.UID, Generation: m.Generation}
	list := append(fieldWarnings(m), n.list...)
	for _, c := range list {
		if !c.Status {
			s.Conditions = list
			return s
		}
	}
	ok := model.Condition{Type: conditionAccepted, Status: true, Reason: reasonAccepted, Message: "accepted"}
	s.Conditions = append([]model.Condition{ok}, list...)
	return s
}
