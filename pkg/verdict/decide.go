package verdict

// Value is what the rules of one peer class make of one destination port. A rule is named by its index in the Set, plus one; 0
// is none.
type Value struct {
	Admin, Base Ranked
	// Deny and Allow are the first rules of Main that do so.
	Deny, Allow uint32
}

// Ranked is the rule of the lowest rank.
type Ranked struct {
	Rank   uint32
	Rule   uint32
	Action Action
}

// Because is why a Decision is as it is.
type Because uint8

const (
	// ByRule is by the rule that the Decision names.
	ByRule Because = iota
	// NoPolicy is an allow where nothing was said against it.
	NoPolicy
	// Isolation is a deny because policies isolate the identity, and no rule allows.
	Isolation
)

// Decision is the answer of one family in one direction.
type Decision struct {
	Allowed bool
	Because Because
	Rule    int // the index in Set.Rules; by ByRule only
}

// add lets a rule count, whose index is i.
func (v *Value) add(i int, r *Rule) {
	n := uint32(i) + 1
	switch {
	case r.Tier == Admin:
		v.Admin.lower(Ranked{r.Rank, n, r.Action})
	case r.Tier == Baseline:
		v.Base.lower(Ranked{r.Rank, n, r.Action})
	case r.Action == Deny:
		v.Deny = first(v.Deny, n)
	default:
		v.Allow = first(v.Allow, n)
	}
}

// merge joins the values of two classes.
func (v *Value) merge(o Value) {
	v.Admin.lower(o.Admin)
	v.Base.lower(o.Base)
	v.Deny, v.Allow = first(v.Deny, o.Deny), first(v.Allow, o.Allow)
}

func (k *Ranked) lower(o Ranked) {
	if o.Rank != 0 && (k.Rank == 0 || o.Rank < k.Rank) {
		*k = o
	}
}

// first is the lower of two rules, where 0 is none.
func first(a, b uint32) uint32 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Combine decides by the values of all classes that the other side is of. The programs of bpf/ do the same.
func Combine(isolated bool, values ...Value) Decision {
	var v Value
	for _, o := range values {
		v.merge(o)
	}
	by := func(allowed bool, rule uint32) Decision { return Decision{allowed, ByRule, int(rule) - 1} }
	switch {
	case v.Admin.Rank != 0 && v.Admin.Action != Pass:
		return by(v.Admin.Action == Allow, v.Admin.Rule)
	case v.Deny != 0:
		return by(false, v.Deny)
	case v.Allow != 0:
		return by(true, v.Allow)
	case isolated:
		return Decision{Because: Isolation}
	case v.Base.Rank != 0 && v.Base.Action != Pass:
		return by(v.Base.Action == Allow, v.Base.Rule)
	}
	return Decision{Allowed: true, Because: NoPolicy}
}
