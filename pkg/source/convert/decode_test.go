package convert

import (
	"testing"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// In a cluster with Istio's own definitions an object may hold what our types cannot: it is read, so that a condition can
// be written on it, and says where.
func TestObjectWithAValueOfTheWrongType(t *testing.T) {
	var kind Kind
	for _, k := range Kinds() {
		if k.Group == GroupIstio && k.Kind == "VirtualService" {
			kind = k
		}
	}
	obj, meta := kind.Object("v1", []byte(`{"metadata":{"name":"a","namespace":"ns","uid":"u","annotations":{
		"kubectl.kubernetes.io/last-applied-configuration":"x","b":"c"}},
		"spec":{"hosts":["a","b"],"http":[{"name":"ok"},{"name":"bad","timeout":5,"nme":"x"}]}}`))
	spec := obj.(*model.Object[v1alpha1.VirtualServiceSpec]).Spec
	if len(spec.Hosts) != 2 || len(spec.HTTP) != 2 || meta.UID != "u" || meta.Key() != "ns/a" || len(meta.Annotations) != 1 {
		t.Errorf("object %+v", obj)
	}
	want := model.FieldIssue{Path: "spec.http[1].timeout", Message: "a number stands here, the field needs a string; put quotes around it"}
	var got *model.FieldIssue
	for i := range meta.Issues {
		if !meta.Issues[i].Unknown {
			got = &meta.Issues[i]
		}
	}
	if got == nil || *got != want {
		t.Errorf("issues %+v, want %+v", meta.Issues, want)
	}
}

func TestPathOfAnOffset(t *testing.T) {
	data := []byte(`{"a":{"b":[1,{"c":"x"},[2,3]]},"d":true}`)
	for text, want := range map[string]string{`1`: "a.b[0]", `"x"`: "a.b[1].c", `3`: "a.b[2][1]", `true`: "d"} {
		at := int64(0)
		for i := range data {
			if string(data[i:min(len(data), i+len(text))]) == text {
				at = int64(i + len(text))
			}
		}
		if got := pathAt(data, at); got != want {
			t.Errorf("the path of %s is %q, want %q", text, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	among := []string{"VirtualService", "DestinationRule", "Gateway"}
	for name, want := range map[string]string{"VirtualSrevice": "VirtualService", "gateway": "Gateway", "Banana": ""} {
		if got := model.Nearest(name, among, 4); got != want {
			t.Errorf("nearest to %s is %q, want %q", name, got, want)
		}
	}
}
