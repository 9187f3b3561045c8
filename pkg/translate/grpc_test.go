package translate_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/translate"
)

// grpcClient are the variants of one that does not say its namespace.
var grpcClient = snapshot.Node{ID: "n", Agent: "gRPC Go"}.Variants()

// TestGRPCGolden compares what only gRPC clients are served: the listeners of the names that they dial, and the resources
// that they need in another form than Envoy.
func TestGRPCGolden(t *testing.T) {
	dir := filepath.Join("testdata", "grpc")
	_, snap := load(t, filepath.Join(dir, "in.yaml"))
	var b bytes.Buffer
	for _, name := range []string{"plain.default.svc.cluster.local:80", "headless.default:80", "routed.default.svc:80", "api.example.com:80"} {
		r := snap.Lookup(grpcClient, resource.ListenerType, name)
		if r == nil {
			t.Fatalf("no listener for %s", name)
		}
		write(t, &b, r)
	}
	write(t, &b, snap.Lookup(grpcClient, resource.ClusterType, "svc/default/nobody.default.svc.cluster.local/80"))
	for _, typeURL := range []string{resource.RouteType, resource.ClusterType} {
		snap.Range(typeURL, func(r *snapshot.Resource) bool {
			if r.Variant != "" {
				write(t, &b, r)
			}
			return true
		})
	}
	compare(t, filepath.Join(dir, "grpc.yaml"), b.Bytes())
	for _, name := range []string{"routed.default:81", "nobody.default:80", "plain:80", "plain.default", "api.example:80", "", ":", "a b:80"} {
		if r := snap.Lookup(grpcClient, resource.ListenerType, name); r != nil {
			t.Errorf("%q has a listener", name)
		}
	}
	if r := snap.Lookup([]string{"node/n", ""}, resource.ListenerType, "plain.default:80"); r != nil {
		t.Error("Envoys have the listener of a gRPC client")
	}
}

func write(t *testing.T, b *bytes.Buffer, r *snapshot.Resource) {
	t.Helper()
	m, err := r.Body.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
		t.Errorf("%s is not valid: %v", r.Name, err)
	}
	js, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.JSONToYAML(js)
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString("---\n# " + r.Name + " for " + r.Variant + "\n")
	b.Write(y)
}

// TestGRPCListenerChanges takes a Service away and brings it back: a gRPC client must be told of every name that it may
// call it by, and an edit of its routes is no change of its listener.
func TestGRPCListenerChanges(t *testing.T) {
	e := table.New(table.Options{Strict: true})
	res := resolve.New(e, resolve.DefaultConfig())
	src := translate.New(e, res).Source()
	position := uint64(0)
	apply := func(o any) map[snapshot.Key]bool {
		t.Helper()
		before := uint64(0)
		if s := src.Latest(); s != nil {
			before = s.Seq()
		}
		position++
		e.Apply(res.Inputs.Batch(updates(o), position))
		keys, ok := src.Latest().ChangesSince(before)
		if !ok {
			t.Fatal("changes are not known")
		}
		out := map[snapshot.Key]bool{}
		for _, k := range keys {
			out[k] = true
		}
		return out
	}
	service := meshService(0, 1)
	host := service.Name + "." + service.Namespace
	var keys []snapshot.Key
	for _, suffix := range []string{"", ".svc", ".svc.cluster.local"} {
		keys = append(keys, snapshot.Key{Type: resource.ListenerType, Name: host + suffix + ":80", Variant: snapshot.GRPCVariant})
	}
	there := func(k snapshot.Key) bool { return src.Latest().Lookup(grpcClient, k.Type, k.Name) != nil }
	for round, want := range []bool{true, false, true} {
		object := any(service)
		if !want {
			object = service.Ref
		}
		changed := apply(object)
		for _, k := range keys {
			if !changed[k] || there(k) != want {
				t.Errorf("round %d: %s changed %v, there %v, want %v", round, k.Name, changed[k], there(k), want)
			}
		}
	}
	vs := meshVS(0, 1)
	changed := apply(vs)
	if len(changed) == 0 {
		t.Fatal("the VirtualService changes nothing")
	}
	for _, k := range keys {
		if changed[k] {
			t.Errorf("an edit of routes changed the listener %s", k.Name)
		}
	}
}
