// Package snapshot holds what one pass of the engine publishes: Envoy resources, encoded once and shared by all nodes.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// A Resource is immutable. A View answers for one node: shared resources plus the few that are its own.
package snapshot

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/pkg/model"
)

// Resource is one encoded xDS resource.
type Resource struct {
	// Type is the type URL, Name the xDS resource name.
	Type, Name string
	// Variant narrows who gets it: "" everyone, "node/ID" one node, "locality/REGION/ZONE" the nodes there, "grpc" and
	// "grpc/NAMESPACE" gRPC clients. The most specific one that exists is served.
	Variant string
	// Body is the encoded message; its bytes are shared by all streams.
	Body *anypb.Any
	// Hash is the hash of Body's bytes. It alone decides whether anything is sent.
	Hash uint64
	// Position is the highest watch position that the replica had seen when the resource was made. It only gates.
	Position uint64
	// Audience is who is sent it by a wildcard subscription: the nodes whose scope sees it; nil is everyone. It may change
	// while the bytes and the hash stay.
	Audience *model.Audience
	// Origins are the source objects that the resource was made from; a NACK becomes a condition on them.
	Origins []model.Ref
	// Deny takes the place of a resource that guards access when it is rejected and no good one exists before it.
	Deny *Resource
	// DenyAlways is set when the resource tightens access: then Deny takes the place of the last good one too.
	DenyAlways bool
	// Stub is set on what stands in the place of a resource: a Deny, or an empty answer where there is none.
	Stub bool

	wire mem.Buffer
	size int
	// What refer found.
	routes    string
	discovers bool
}

// GetBody is the encoded message; nil for no resource.
func (r *Resource) GetBody() []byte {
	if r == nil {
		return nil
	}
	return r.Body.GetValue()
}

// Size is the length of the encoded resource in bytes; 0 for no resource.
func (r *Resource) Size() int {
	switch {
	case r == nil:
		return 0
	case r.size == 0:
		return len(r.Name) + len(r.Body.GetValue())
	}
	return r.size
}

// Version is the xDS version: content hash, and watch position.
func (r *Resource) Version() string {
	return strconv.FormatUint(r.Hash, 16) + "@" + strconv.FormatUint(r.Position, 10)
}

// ParseVersion splits a Version; ok is false for a version that is not ours.
func ParseVersion(v string) (hash, position uint64, ok bool) {
	h, p, found := strings.Cut(v, "@")
	if !found {
		return 0, 0, false
	}
	hash, err1 := strconv.ParseUint(h, 16, 64)
	position, err2 := strconv.ParseUint(p, 10, 64)
	return hash, position, err1 == nil && err2 == nil
}

// Key names a resource in a snapshot.
type Key struct{ Type, Name, Variant string }

// ScopeKeyType is the Type of a Key that says that the scope of the node of that Name has changed. It is no xDS type.
const ScopeKeyType = "node scope"

// Node is the client that a View is for, as its stream identified it.
type Node struct {
	// ID is the node's name; Locality its region, zone and sub-zone.
	ID       string
	Locality model.Locality
	// Agent is the program ("envoy", "gRPC Go"), Namespace that of its pod where it is a gRPC client and says so.
	Agent, Namespace string
}

// Variants are the variants that node is served, the most specific first.
func (n Node) Variants() []string {
	v := append([]string{"node/" + n.ID}, n.grpcVariants()...)
	for l := n.Locality; l.Region != ""; {
		v = append(v, "locality/"+l.String())
		switch {
		case l.SubZone != "":
			l.SubZone = ""
		case l.Zone != "":
			l.Zone = ""
		default:
			l.Region = ""
		}
	}
	return append(v, "")
}

// Snapshot is one immutable published state. Implementations answer from copy-on-write shards.
type Snapshot interface {
	// Seq counts publications from 1; Position is the highest watch position that the replica had seen at the pass.
	Seq() uint64
	Position() uint64
	// Complete is the position up to which the snapshot has everything, of every kind and in every type; never above
	// Position. What a client brought from another stream with a position beyond it may be newer than what is here:
	// neither replace nor remove it. What this source itself gave before needs no such care: its snapshots only advance,
	// while Complete of a cluster's reader is most of the time behind the positions of its own resources.
	Complete() uint64
	// Get returns the resource of exactly that key, or nil.
	Get(Key) *Resource
	// Lookup finds what a node of these Variants is served under a name, or nil.
	Lookup(variants []string, typeURL, name string) *Resource
	// Shared gives what all nodes are served under a name (nil when there is none); false when that depends on the node.
	Shared(typeURL, name string) (r *Resource, same bool)
	// Range calls fn for every resource of a type in name order until it returns false; Prefix for those whose name
	// begins with prefix.
	Range(typeURL string, fn func(*Resource) bool)
	Prefix(typeURL, prefix string, fn func(*Resource) bool)
	// Scope is what the pods of a node can reach, by the node's name; nil when nothing is known of the node: it then sees
	// everything.
	Scope(node string) *model.NodeScope
	// ChangesSince lists the keys that changed after seq (added, changed or removed), each once; a changed audience alone
	// counts, and changed scopes have the type ScopeKeyType. ok is false when seq is too old to know: compare everything.
	ChangesSince(seq uint64) (keys []Key, ok bool)
	// Newer is closed when a later snapshot has been published.
	Newer() <-chan struct{}
}

// Source gives the latest snapshot: nil until every input has synced.
type Source interface {
	Latest() Snapshot
	// Ready is closed when the first snapshot has been published.
	Ready() <-chan struct{}
	// Want says that somebody waits for a snapshot that is complete up to position at least, so that the reader proves it
	// instead of waiting for idle kinds to tell. It gives false when the reader has found that there never was such a
	// position: who shows it brings it from another world, and is not to wait. It is cheap, may be repeated (the answer is
	// true until the reader knows better), and does not block.
	Want(position uint64) bool
}

// Pick is Lookup over the Get of a snapshot: the first of the variants that exists.
func Pick(s Snapshot, variants []string, typeURL, name string) *Resource {
	for _, v := range variants {
		if r := s.Get(Key{typeURL, name, v}); r != nil {
			return r
		}
	}
	return nil
}
