package status

import (
	"bytes"
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// seen is what the API server has of one object, as far as a writer cares. It is immutable.
type seen struct {
	uid, version string
	status       map[string]any
	// owned is what the managed fields say is ours ("f:status" and below, FieldsV1); empty when nothing is.
	owned []byte
}

// look takes from an object what is kept of it.
func look(u *unstructured.Unstructured) *seen {
	s := &seen{uid: string(u.GetUID()), version: u.GetResourceVersion()}
	s.status, _, _ = unstructured.NestedMap(u.Object, "status")
	for _, m := range u.GetManagedFields() {
		if m.Manager == FieldManager && m.Subresource == "status" && m.FieldsV1 != nil {
			s.owned = bytes.Clone(m.FieldsV1.GetRawBytes())
		}
	}
	return s
}

// newer tells whether s was read after o. Versions that do not compare count as newer, so that nothing is missed.
func (s *seen) newer(o *seen) bool {
	if o == nil || s.uid != o.uid {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(s.version, o.version)
	return err != nil || order > 0
}

// same tells whether a writer would do the same with both.
func (s *seen) same(o *seen) bool {
	return o != nil && s.uid == o.uid && bytes.Equal(s.owned, o.owned) && equal(s.status, o.status)
}

// fields are the owned fields below status, as a tree.
func (s *seen) fields() map[string]any {
	var all map[string]any
	if len(s.owned) == 0 || json.Unmarshal(s.owned, &all) != nil {
		return nil
	}
	below, _ := all["f:status"].(map[string]any)
	return below
}

// conditions are those of the status itself.
func (s *seen) conditions() []any {
	if s == nil {
		return nil
	}
	list, _ := s.status["conditions"].([]any)
	return list
}

// parents splits the entries of a route's status into those of a controller and the others'.
func (s *seen) parents(controller string) (ours, others []any) {
	if s == nil {
		return nil, nil
	}
	list, _ := s.status["parents"].([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok && m["controllerName"] == controller {
			ours = append(ours, e)
		} else {
			others = append(others, e)
		}
	}
	return ours, others
}
