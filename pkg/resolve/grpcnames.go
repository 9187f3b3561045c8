package resolve

import (
	"strconv"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// GRPCNames are the names that gRPC clients call HTTP frontends by, "host:port", and the route table behind each: Scope's
// Address is the name. A name that several frontends have is the preferred one's. The table holds no routes, so that
// an edit of those stops at it.
func GRPCNames(e *table.Engine, o *Outbound) *table.Derived[*Scope] {
	names := table.NewIndex(o.Frontends, "names for grpc clients", func(_ string, f *model.Frontend) []string {
		if f.HTTP == nil {
			return nil
		}
		return []string{f.ID.Host + ":" + strconv.Itoa(int(f.ID.Port))}
	})
	same := func(a, b *Scope) bool { return *a == *b }
	return table.NewDerived(e, "grpc names", func(r *table.Reader, name string) (*Scope, bool) {
		return scope(table.List(r, names, name), name)
	}, []table.Trigger{names}, table.Equal(same))
}
