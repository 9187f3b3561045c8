package v1alpha1

import (
	"encoding/json"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConditionProgrammed is the condition that the printer columns show: true when
// the Envoys that need the object have acknowledged what it became.
const ConditionProgrammed = "Programmed"

// Status is what Fairlead reports about an object. It is written by Fairlead
// only, and never read as an input.
type Status struct {
	// ObservedGeneration is the metadata.generation that the conditions speak
	// about. If it is smaller than the current generation, the newest edit has not
	// been judged yet.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions say whether the object is in force and, if it is not, which field
	// is to blame and what to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// generation is an int64 that may come as a JSON string: Istio's status is
// protobuf JSON, which writes 64-bit integers so.
type generation int64

// UnmarshalJSON reads 3 and "3"; whatever else it meets counts as absent.
func (g *generation) UnmarshalJSON(b []byte) error {
	if len(b) >= 2 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err == nil {
		*g = generation(n)
	}
	return nil
}

// UnmarshalJSON reads a status of either group and never fails. In the Istio
// group another controller may own the status, with other fields and with
// generations as strings, and an object must not be lost for a part of it that
// is not an input. Unknown fields are not reported, for the same reason.
func (s *Status) UnmarshalJSON(b []byte) error {
	type condition struct {
		Type               string                 `json:"type"`
		Status             metav1.ConditionStatus `json:"status"`
		ObservedGeneration generation             `json:"observedGeneration"`
		LastTransitionTime metav1.Time            `json:"lastTransitionTime"`
		Reason             string                 `json:"reason"`
		Message            string                 `json:"message"`
	}
	var raw struct {
		ObservedGeneration generation        `json:"observedGeneration"`
		Conditions         []json.RawMessage `json:"conditions"`
	}
	*s = Status{}
	if json.Unmarshal(b, &raw) != nil {
		return nil
	}
	s.ObservedGeneration = int64(raw.ObservedGeneration)
	for _, one := range raw.Conditions {
		var c condition
		if json.Unmarshal(one, &c) != nil {
			continue
		}
		s.Conditions = append(s.Conditions, metav1.Condition{
			Type: c.Type, Status: c.Status, ObservedGeneration: int64(c.ObservedGeneration),
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return nil
}
