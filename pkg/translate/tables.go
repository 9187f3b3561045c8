package translate

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// Outputs are the published tables: one a resource type, keyed by resource name and, after a space, its variant.
type Outputs struct {
	engine *table.Engine
	byType map[string]*table.Output[*snapshot.Resource]
	types  map[string]string // table name → type URL
	scopes *table.Output[*model.NodeScope]

	res  *resolve.Resolved
	grpc grpcNames
}

// New declares the tables of the stage. The endpoints come first: they are the urgent lane.
func New(e *table.Engine, res *resolve.Resolved) *Outputs {
	o := &Outputs{engine: e, res: res, byType: map[string]*table.Output[*snapshot.Resource]{}, types: map[string]string{}}
	o.declareEndpoints()
	o.declareVerdicts()
	o.declareWorkloads()
	o.scopes = table.Publish(res.Scopes.Nodes)
	o.types[o.scopes.Name()] = snapshot.ScopeKeyType
	o.declareClusters()
	o.declareSecrets()
	o.declareTrust()
	o.declareRoutes()
	o.declareScopes()
	o.declareListeners()
	o.grpc = newGRPCNames(e, res)
	return o
}

// declare makes a published table of resources of one type.
func (o *Outputs) declare(typeURL, name string, fn func(*table.Reader, string) (*snapshot.Resource, bool), triggers []table.Trigger, opts ...table.Option) {
	// Other origins with the same bytes are a new row, so that a NACK finds the right objects, and so is another audience;
	// push compares hashes.
	same := func(a, b *snapshot.Resource) bool {
		return a.Hash == b.Hash && slices.Equal(a.Origins, b.Origins) && a.Audience.Equal(b.Audience)
	}
	t := table.NewDerived(o.engine, name, fn, triggers, append(opts, table.Equal(same))...)
	o.byType[typeURL] = table.Publish(t)
	o.types[name] = typeURL
}

// encode makes the resource of a message. A message that does not encode (a string that is not UTF-8) is left out: the
// readers refuse such objects before.
func encode(r *table.Reader, name string, m proto.Message, origins []model.Ref) (*snapshot.Resource, bool) {
	res, err := snapshot.Encode(name, m, r.Position(), origins...)
	if err != nil {
		return nil, false
	}
	return res, true
}

// encodeVariant is encode for some of the nodes.
func encodeVariant(r *table.Reader, name, variant string, m proto.Message, origins []model.Ref) (*snapshot.Resource, bool) {
	res, ok := encode(r, name, m, origins)
	if ok {
		res.Variant = variant
	}
	return res, ok
}

// encodeFor is encode for an audience.
func encodeFor(r *table.Reader, a *model.Audience, name string, m proto.Message, origins []model.Ref) (*snapshot.Resource, bool) {
	res, ok := encode(r, name, m, origins)
	if ok {
		res.Audience = a
	}
	return res, ok
}

// encodePart encodes a message as an element of a repeated field of its parent.
func encodePart(field protowire.Number, m proto.Message) ([]byte, bool) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, false
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), b), true
}
