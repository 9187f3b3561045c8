package push

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/snapshot"
)

// A client is served as who it is admitted as, not as what it says.
func TestAdmitSaysWhoIsServed(t *testing.T) {
	asked := 0
	admit := func(_ context.Context, n snapshot.Node) (snapshot.Node, error) {
		asked++
		n.ID = "mine"
		return n, nil
	}
	bubble(t, Config{Admit: admit}, func(t *testing.T, r *rig) {
		mine, theirs := res(t, clusterType, "mine", "1", 1), res(t, clusterType, "theirs", "1", 1)
		mine.Variant, theirs.Variant = "node/mine", "node/theirs"
		r.src.Update(1, []*snapshot.Resource{mine, theirs})
		c := r.client("theirs")
		c.subscribe(clusterType)
		c.expect("Cluster +mine")
		c.subscribe(endpointType, "x")
		c.expect("ClusterLoadAssignment -x")
		if asked != 1 {
			t.Errorf("asked %d times, want once", asked)
		}
		if got := r.srv.Clients(); len(got) != 1 || got[0].Node.ID != "mine" {
			t.Errorf("clients %+v, want one named mine", got)
		}
	})
}

func TestAdmitRefuses(t *testing.T) {
	admit := func(context.Context, snapshot.Node) (snapshot.Node, error) {
		return snapshot.Node{}, status.Error(codes.PermissionDenied, "not you")
	}
	bubble(t, Config{Admit: admit}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1)})
		c := r.client("n")
		c.subscribe(clusterType)
		if err := <-c.err; status.Code(err) != codes.PermissionDenied {
			t.Errorf("stream ended with %v", err)
		}
		if n := len(c.got); n > 0 {
			t.Errorf("%d responses to a client that was refused", n)
		}
		if got := r.srv.Clients(); len(got) != 0 {
			t.Errorf("a client that was refused is shown: %+v", got)
		}
	})
}

func TestAllowRefusesAType(t *testing.T) {
	allow := func(_ context.Context, typeURL string) error {
		if typeURL == secretType {
			return status.Error(codes.PermissionDenied, "no secrets")
		}
		return nil
	}
	bubble(t, Config{Allow: allow}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1)})
		c := r.client("n")
		c.subscribe(clusterType)
		c.expect("Cluster +a")
		c.subscribe(secretType, "s")
		if err := <-c.err; status.Code(err) != codes.PermissionDenied {
			t.Errorf("stream ended with %v", err)
		}
	})
}

// A resource of another node reaches nobody, whether it is subscribed to as a whole or by name, and neither do its
// changes and its end.
func TestOtherNodesVariantsStayUnseen(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		on := func(node, text string, pos uint64) *snapshot.Resource {
			p := res(t, clusterType, "pod-of-"+node, text, pos)
			p.Type, p.Variant = workloadType, "node/"+node
			return p
		}
		r.src.Update(1, []*snapshot.Resource{on("a", "1", 1), on("b", "1", 1)})
		whole, named := r.client("a"), r.client("a")
		whole.subscribe(workloadType)
		whole.expect("Workload +pod-of-a")
		named.subscribe(workloadType, "pod-of-b")
		named.expect("Workload -pod-of-b")
		r.src.Update(2, []*snapshot.Resource{on("b", "2", 2)})
		whole.quiet()
		named.quiet()
		r.src.Update(3, nil, snapshot.Key{Type: workloadType, Name: "pod-of-b", Variant: "node/b"})
		whole.quiet()
		named.quiet()
		r.src.Update(4, nil, snapshot.Key{Type: workloadType, Name: "pod-of-a", Variant: "node/a"})
		whole.expect("Workload -pod-of-a")
	})
}
