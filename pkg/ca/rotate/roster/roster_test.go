package roster

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"fairlead.io/fairlead/pkg/ca/rotate"
)

// TestKeep writes a list, changes it, and reads it as another process would.
func TestKeep(t *testing.T) {
	client := fake.NewClientset()
	path := filepath.Join(t.TempDir(), "nodes.json")
	first := []rotate.Present{{Node: "n1"}, {Node: "n1", Agent: true, Seen: time.Unix(1_700_000_000, 0).UTC()}}
	for name, open := range map[string]func() rotate.Roster{
		"ConfigMap": func() rotate.Roster { return NewConfigMap(client, "fairlead-system", "fairlead-nodes") },
		"file":      func() rotate.Roster { return NewFile(path) },
	} {
		t.Run(name, func(t *testing.T) {
			for i, step := range []struct{ want, next []rotate.Present }{{nil, first}, {first, first}, {first, first[:1]}, {first[:1], nil}} {
				err := open().Update(t.Context(), func(list []rotate.Present) []rotate.Present {
					if !slices.Equal(list, step.want) {
						t.Errorf("step %d: kept is %+v, want %+v", i, list, step.want)
					}
					return step.next
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	writes := 0
	for _, a := range client.Actions() {
		if a.GetVerb() != "get" {
			writes++
		}
	}
	if writes != 3 {
		t.Errorf("%d writes, want 3: an equal list is not written", writes)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

// TestBroken refuses a list that cannot be read: it is not taken for an empty one.
func TestBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset()
	m := NewConfigMap(client, "ns", "nodes")
	if err := m.Update(t.Context(), func([]rotate.Present) []rotate.Present { return []rotate.Present{{Node: "n1"}} }); err != nil {
		t.Fatal(err)
	}
	kept, err := client.CoreV1().ConfigMaps("ns").Get(t.Context(), "nodes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kept.Data[key] = "["
	if _, err := client.CoreV1().ConfigMaps("ns").Update(context.Background(), kept, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []rotate.Roster{NewFile(path), m} {
		err := r.Update(t.Context(), func([]rotate.Present) []rotate.Present { t.Error("it is decided on nothing"); return nil })
		if err == nil || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("error %v", err)
		}
	}
}
