package status

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fairlead.io/fairlead/pkg/model"
)

// maxParents is how many entries the status of a route holds.
const maxParents = 32

// render writes a Final as the status that is to be applied. A condition keeps the transition time of the one that the
// object has, unless its status differs; for a route, the entries of other controllers stay as they are.
func render(f *Final, have *seen, controller string, now time.Time) map[string]any {
	r := &renderer{generation: f.Generation, plain: f.Ref.Group == model.CiliumGroup, now: now.UTC().Format(time.RFC3339)}
	switch shapeOf(f.Ref) {
	case routeShape:
		ours, others := have.parents(controller)
		return map[string]any{"parents": append(others, r.parents(f.Parents, ours, controller, maxParents-len(others))...)}
	case gatewayShape:
		out := map[string]any{"conditions": r.conditions(f.Conditions, have.conditions())}
		if len(f.Listeners) > 0 {
			out["listeners"] = r.listeners(f.Listeners, have)
		}
		var addresses []any
		for _, a := range f.Addresses {
			addresses = append(addresses, map[string]any{"type": "IPAddress", "value": a})
		}
		if len(addresses) > 0 {
			out["addresses"] = addresses
		}
		return out
	case plainShape:
		return map[string]any{"observedGeneration": f.Generation, "conditions": r.conditions(f.Conditions, have.conditions())}
	}
	return map[string]any{"conditions": r.conditions(f.Conditions, have.conditions())}
}

type renderer struct {
	generation int64
	// plain leaves out the generation: Cilium's definition has no such field in a condition.
	plain bool
	now   string
}

func (r *renderer) conditions(list []Condition, have []any) []any {
	out := make([]any, 0, len(list))
	for _, c := range list {
		since := r.now
		if old, ok := item(have, "type", c.Type); ok && old["status"] == string(c.Status) {
			if t, ok := old["lastTransitionTime"].(string); ok && t != "" {
				since = t
			}
		}
		condition := map[string]any{
			"type": c.Type, "status": string(c.Status), "reason": c.Reason, "message": c.Message, "lastTransitionTime": since,
		}
		if !r.plain {
			condition["observedGeneration"] = r.generation
		}
		out = append(out, condition)
	}
	return out
}

func (r *renderer) listeners(list []Listener, have *seen) []any {
	var old []any
	if have != nil {
		old, _ = have.status["listeners"].([]any)
	}
	var out []any
	for i := range list {
		l := &list[i]
		kinds := []any{}
		for _, k := range l.SupportedKinds {
			kinds = append(kinds, map[string]any{"group": k.Group, "kind": k.Kind})
		}
		var before []any
		if was, ok := item(old, "name", l.Name); ok {
			before, _ = was["conditions"].([]any)
		}
		out = append(out, map[string]any{
			"name": l.Name, "attachedRoutes": int64(l.AttachedRoutes), "supportedKinds": kinds,
			"conditions": r.conditions(l.Conditions, before),
		})
	}
	return out
}

// parents renders as many entries as there is room for.
func (r *renderer) parents(list []Parent, have []any, controller string, room int) []any {
	out := []any{}
	for i := range list[:max(0, min(len(list), room))] {
		p := &list[i]
		ref := parentRef(p)
		var before []any
		for _, e := range have {
			if m, ok := e.(map[string]any); ok && equal(m["parentRef"], ref) {
				before, _ = m["conditions"].([]any)
			}
		}
		out = append(out, map[string]any{
			"parentRef": ref, "controllerName": controller, "conditions": r.conditions(p.Conditions, before),
		})
	}
	return out
}

func parentRef(p *Parent) map[string]any {
	ref := map[string]any{"group": p.Ref.Group, "kind": p.Ref.Kind, "namespace": p.Ref.Namespace, "name": p.Ref.Name}
	if p.Section != "" {
		ref["sectionName"] = p.Section
	}
	if p.Port != 0 {
		ref["port"] = int64(p.Port)
	}
	return ref
}

// patch wraps a status for server-side apply. The uid keeps it from a namesake that was made meanwhile; version, unless it
// is empty, from an object that has changed meanwhile. A nil status gives up all that is ours.
func patch(gvk schema.GroupVersionKind, ref model.Ref, uid, version string, status map[string]any) *unstructured.Unstructured {
	meta := map[string]any{"name": ref.Name, "uid": uid}
	if ref.Namespace != "" {
		meta["namespace"] = ref.Namespace
	}
	if version != "" {
		meta["resourceVersion"] = version
	}
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": meta}}
	if status != nil {
		u.Object["status"] = status
	}
	u.SetGroupVersionKind(gvk)
	return u
}
