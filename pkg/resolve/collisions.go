package resolve

import (
	"strconv"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Collision is an address and port that several hosts claim: only the first is reached by it.
type Collision struct {
	// Address is "ip/bits port N".
	Address string
	Winner  model.Ref
	Losers  []model.Ref
}

// newCollisions finds the addresses that frontends of several objects claim, by "prefix port". It follows what scopes and
// chains do: a Service before a ServiceEntry, then by name.
func newCollisions(e *table.Engine, o *Outbound) *table.Derived[*Collision] {
	claims := table.NewIndex(o.Frontends, "frontends by address", func(_ string, f *model.Frontend) []string {
		keys := make([]string, len(f.Addresses))
		for i, a := range f.Addresses {
			keys[i] = a.String() + " port " + strconv.Itoa(int(f.ID.Port))
		}
		return keys
	})
	return table.NewDerived(e, "address collisions", func(r *table.Reader, address string) (*Collision, bool) {
		return collision(table.List(r, claims, address), address)
	}, []table.Trigger{claims})
}

func collision(claims []table.Entry[*model.Frontend], address string) (*Collision, bool) {
	if len(claims) < 2 {
		return nil, false
	}
	c := &Collision{Address: address, Winner: preferred(claims).Origins[0]}
	for _, e := range claims {
		if o := e.Value.Origins[0]; o != c.Winner {
			c.Losers = addRef(c.Losers, o)
		}
	}
	return c, len(c.Losers) > 0
}

// collided says on the object that some of its addresses lead to another one.
func collided(o *model.ObjectStatus, found []*Collision) *model.ObjectStatus {
	if len(found) == 0 {
		return o
	}
	n := *o
	n.Conditions = withoutType(o.Conditions, conditionAccepted)
	for _, c := range found {
		n.Conditions = append(n.Conditions, model.Condition{
			Type: conditionAccepted, Reason: reasonConflict, Path: "spec.addresses",
			Message: named("spec.addresses", c.Address+" is also an address of "+c.Winner.String()+
				", which comes first (a Service, then by name) and is reached by it; give one of the two another address"),
		})
	}
	return &n
}
