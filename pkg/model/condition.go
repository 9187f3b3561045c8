package model

// Condition is what resolve has to say about one object: it becomes a status condition, a warning of `check`, or both.
type Condition struct {
	// Type and Reason are those of the object's API ("Accepted", "ResolvedRefs", "Programmed").
	Type   string
	Status bool
	Reason string
	// Message says what, where and what to do.
	Message string
	// Path is the field that it is about, for file and line; empty for the object.
	Path string
	// Warning marks what does not make the condition false: an unsupported field that was left out.
	Warning bool
}

// ParentStatus is the status that a route has in the eyes of one parent, or that a Gateway's listener has.
type ParentStatus struct {
	// Parent is the Gateway (or Service) and Section its listener, as the route wrote them; Port when it named one.
	Parent     Ref
	Section    string
	Port       uint16
	Conditions []Condition
}

// ObjectStatus is all that is said about one object. Its table key is Ref.Kind + "/" + Ref.Key(), preceded by the group.
type ObjectStatus struct {
	Ref        Ref
	UID        string
	Generation int64
	Conditions []Condition
	Parents    []ParentStatus
	Listeners  []ListenerStatus
	Addresses  []string
}

// ListenerStatus is the status of one listener of a Gateway.
type ListenerStatus struct {
	Name           string
	AttachedRoutes int
	SupportedKinds []Ref
	Conditions     []Condition
}
