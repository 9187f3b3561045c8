package status

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
)

// The reasons of Programmed.
const (
	ReasonProgrammed = "Programmed"
	ReasonInvalid    = "Invalid"  // resolve did not accept the object
	ReasonRejected   = "Rejected" // an Envoy did not take what the object became
	ReasonPending    = "Pending"  // an answer of an Envoy is outstanding
)

// Wait says whether a Final may still change by itself.
type Wait uint8

const (
	Settled   Wait = iota
	InFlight       // an Envoy has not answered yet
	Joining        // only Envoys have not answered that have just connected: they may well have it from before
	NoClients      // there is no Envoy that could answer
)

// Condition is one final condition, without its times.
type Condition struct {
	Type            string
	Status          metav1.ConditionStatus
	Reason, Message string
}

// Final is all that is to be written into the status of one object.
type Final struct {
	Ref        model.Ref
	UID        string
	Generation int64
	Conditions []Condition
	Parents    []Parent
	Listeners  []Listener
	Addresses  []string
	Wait       Wait
}

// Parent are the conditions of a route in the eyes of one parent.
type Parent struct {
	Ref        model.Ref
	Section    string
	Port       uint16
	Conditions []Condition
}

// Listener is the status of one listener of a Gateway.
type Listener struct {
	Name           string
	AttachedRoutes int
	SupportedKinds []model.Ref
	Conditions     []Condition
}

// Join makes the final conditions of an object of what resolve says of it and how its resources fare. It gives nil for an
// object that has no place for conditions or that none is to be said of: one of another controller.
//
// No message has a count of clients or the name of a node in it: a fleet that restarts must not rewrite every status.
func Join(s *model.ObjectStatus, o barrier.Fate) *Final {
	limit := messageLimit(s)
	f := &Final{Ref: s.Ref, UID: s.UID, Generation: s.Generation, Addresses: s.Addresses}
	warnings := warningsOf(s.Conditions, limit)
	switch shapeOf(s.Ref) {
	case noPlace:
		return nil
	case classShape:
		f.Conditions = append(merge(s.Conditions, limit), warnings...)
	case gatewayShape:
		f.Conditions = append(f.conclude(s.Conditions, ConditionProgrammed, o, limit), warnings...)
		for i := range s.Listeners {
			l := &s.Listeners[i]
			f.Listeners = append(f.Listeners, Listener{
				Name: l.Name, AttachedRoutes: l.AttachedRoutes, SupportedKinds: l.SupportedKinds,
				Conditions: append(f.conclude(l.Conditions, ConditionProgrammed, o, limit), warningsOf(l.Conditions, limit)...),
			})
		}
	case routeShape:
		for i := range s.Parents {
			p := &s.Parents[i]
			own := slices.Concat(f.conclude(p.Conditions, ConditionRouteProgrammed, o, limit), warningsOf(slices.Concat(s.Conditions, p.Conditions), limit))
			f.Parents = append(f.Parents, Parent{Ref: p.Parent, Section: p.Section, Port: p.Port, Conditions: own})
		}
		if len(f.Parents) == 0 {
			return nil
		}
		return f
	case plainShape, policyShape:
		f.Conditions = append(f.conclude(s.Conditions, ConditionProgrammed, o, limit), warnings...)
	}
	if find(f.Conditions, ConditionAccepted) == nil {
		return nil
	}
	return f
}

// conclude merges conditions and adds whether what they are about is in force, unless resolve knows already that it is not.
func (f *Final) conclude(list []model.Condition, kind string, o barrier.Fate, limit int) []Condition {
	out := merge(list, limit)
	accepted := find(out, ConditionAccepted)
	if accepted == nil || find(out, kind) != nil {
		return out
	}
	c, wait := programmed(accepted.Status == metav1.ConditionTrue, o)
	c.Type, c.Message = kind, truncate(c.Message, limit)
	f.Wait = max(f.Wait, wait)
	return append(out, c)
}

// programmed judges by the answers of the clients.
func programmed(accepted bool, o barrier.Fate) (Condition, Wait) {
	switch {
	case len(o.Rejected) > 0:
		return Condition{Status: metav1.ConditionFalse, Reason: ReasonRejected, Message: rejection(o.Rejected)}, Settled
	case !accepted:
		return Condition{
			Status: metav1.ConditionFalse, Reason: ReasonInvalid,
			Message: "not in force, or not all of it; the condition Accepted says why",
		}, Settled
	case o.Clients == 0:
		return Condition{
			Status: metav1.ConditionUnknown, Reason: ReasonPending,
			Message: "no Envoy is connected; start one, or see with \"fairlead proxy-status\" where they are",
		}, NoClients
	case o.Progress != barrier.Through:
		wait := InFlight
		if o.Progress == barrier.Joining {
			wait = Joining
		}
		return Condition{
			Status: metav1.ConditionUnknown, Reason: ReasonPending,
			Message: "some Envoys have not acknowledged it yet; \"fairlead wait\" names them",
		}, wait
	case o.Resources == 0:
		return Condition{Status: metav1.ConditionTrue, Reason: ReasonProgrammed, Message: "nothing had to be sent to any Envoy for it"}, Settled
	}
	return Condition{Status: metav1.ConditionTrue, Reason: ReasonProgrammed, Message: "acknowledged by every Envoy that was sent it"}, Settled
}

// negative lists the types of the Gateway API for which true is bad.
func negative(kind string) bool {
	switch kind {
	case "Conflicted", "PartiallyInvalid", "OverlappingTLSConfig", "InsecureFrontendValidationMode":
		return true
	}
	return false
}

// merge makes one condition of each type: what is bad outweighs what is good, and all that is bad is told. Warnings are
// left out.
func merge(list []model.Condition, limit int) []Condition {
	var out []Condition
	var bad [][]string // messages of the bad ones, beside out
	for i := range list {
		c := &list[i]
		if c.Warning {
			continue
		}
		at := slices.IndexFunc(out, func(o Condition) bool { return o.Type == c.Type })
		if at < 0 {
			at = len(out)
			out, bad = append(out, Condition{Type: c.Type}), append(bad, nil)
		}
		worse := c.Status == negative(c.Type)
		if worse && len(bad[at]) == 0 || out[at].Status == "" {
			out[at].Status, out[at].Reason, out[at].Message = truth(c.Status), cmp.Or(c.Reason, c.Type), c.Message
		}
		if worse && !slices.Contains(bad[at], c.Message) {
			bad[at] = append(bad[at], c.Message)
		}
	}
	for i := range out {
		if len(bad[i]) > 0 {
			out[i].Message = strings.Join(bad[i], "; ")
		}
		out[i].Message = truncate(out[i].Message, limit)
	}
	return out
}

// warningsOf makes one condition of all warnings, or none.
func warningsOf(list []model.Condition, limit int) []Condition {
	var reason string
	var messages []string
	for i := range list {
		if c := &list[i]; c.Warning && !slices.Contains(messages, c.Message) {
			reason = cmp.Or(reason, c.Reason)
			messages = append(messages, c.Message)
		}
	}
	if len(messages) == 0 {
		return nil
	}
	return []Condition{{
		Type: ConditionWarnings, Status: metav1.ConditionTrue, Reason: cmp.Or(reason, "Warning"),
		Message: truncate(strings.Join(messages, "; "), limit),
	}}
}

func truth(b bool) metav1.ConditionStatus {
	if b {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

func find(list []Condition, kind string) *Condition {
	for i := range list {
		if list[i].Type == kind {
			return &list[i]
		}
	}
	return nil
}
