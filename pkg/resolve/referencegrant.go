package resolve

import (
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// grantKeys indexes a ReferenceGrant by each pair that it connects, so that one grant only concerns references between
// those namespaces.
func grantKeys(_ string, g *ReferenceGrant) []string {
	var keys []string
	for _, from := range g.Spec.From {
		for _, to := range g.Spec.To {
			keys = append(keys, grantKey(
				model.Ref{Group: string(from.Group), Kind: string(from.Kind), Namespace: string(from.Namespace)},
				model.Ref{Group: string(to.Group), Kind: string(to.Kind), Namespace: g.Namespace},
			))
		}
	}
	return keys
}

func grantKey(from, to model.Ref) string {
	return from.Group + "/" + from.Kind + "/" + from.Namespace + ">" + to.Group + "/" + to.Kind + "/" + to.Namespace
}

// permitted tells whether from may refer to to: within a namespace always, beyond it by a ReferenceGrant in the namespace
// of to that names from's kind and namespace, and to's kind and, if it names one, to's name.
func (g *GatewayAPI) permitted(r *table.Reader, from, to model.Ref) bool {
	if from.Namespace == to.Namespace {
		return true
	}
	for _, e := range table.List(r, g.grants, grantKey(from, to)) {
		for _, t := range e.Value.Spec.To {
			if string(t.Group) == to.Group && string(t.Kind) == to.Kind && (t.Name == nil || *t.Name == "" || string(*t.Name) == to.Name) {
				return true
			}
		}
	}
	return false
}

// notPermitted is the message for a reference that needs a grant.
func notPermitted(from, to model.Ref) string {
	return to.String() + " is in another namespace; a ReferenceGrant in " + to.Namespace + " must allow " +
		from.Kind + "s of " + from.Namespace + " to refer to " + to.Kind + "s"
}
