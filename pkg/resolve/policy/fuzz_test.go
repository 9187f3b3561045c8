package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
	"sigs.k8s.io/yaml"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// FuzzCompile compiles whatever decodes. A policy that comes out is well formed, whatever its author wrote.
func FuzzCompile(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.in.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, doc := range bytes.Split(text, []byte("\n---\n")) {
			data, err := yaml.YAMLToJSON(doc)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var policies []*Policy
		meta := model.Meta{Ref: model.Ref{Namespace: "shop", Name: "x"}}
		var cluster struct {
			Spec policyv1alpha2.ClusterNetworkPolicySpec `json:"spec"`
		}
		if json.Unmarshal(data, &cluster) == nil {
			policies = append(policies, ClusterNetworkPolicy(&model.Object[policyv1alpha2.ClusterNetworkPolicySpec]{Meta: meta, Spec: cluster.Spec}))
		}
		var rules ciliumv2.Rules
		if json.Unmarshal(data, &rules) == nil {
			policies = append(policies, CiliumPolicy(&model.Object[ciliumv2.Rules]{Meta: meta, Spec: rules}, DefaultCluster)...)
		}
		var mesh struct {
			Spec v1alpha1.AuthorizationPolicySpec `json:"spec"`
		}
		if json.Unmarshal(data, &mesh) == nil {
			policies = append(policies, AuthorizationPolicy(&model.Object[v1alpha1.AuthorizationPolicySpec]{Meta: meta, Spec: mesh.Spec}, &testMesh))
		}
		for _, p := range policies {
			wellFormed(t, p)
		}
	})
}

func wellFormed(t *testing.T, p *Policy) {
	for i := range p.Rules {
		r := &p.Rules[i]
		if len(r.Peers) == 0 || len(r.Ports)+len(r.Named) == 0 || r.Action == verdict.Pass && r.Tier == verdict.Main {
			t.Errorf("a rule that says nothing: %+v", r)
		}
		for _, q := range r.Ports {
			if q.First > q.Last {
				t.Errorf("ports %+v", q)
			}
		}
		for _, peer := range r.Peers {
			set := 0
			for _, is := range []bool{peer.Pods != nil, peer.Entity != 0, peer.Range != nil, peer.Service != nil} {
				if is {
					set++
				}
			}
			if set != 1 {
				t.Errorf("a peer is one thing: %+v", peer)
			}
			if n := peer.Range; n != nil {
				ok := n.CIDR.IsValid() && n.CIDR == n.CIDR.Masked() && !n.CIDR.Addr().Is4In6()
				for _, x := range n.Except {
					ok = ok && covers(n.CIDR, x) && x == x.Masked()
				}
				if !ok {
					t.Errorf("range %+v", n)
				}
			}
		}
	}
	for _, n := range p.Notes {
		if n.Reason == "" || n.Path == "" || n.Message == "" {
			t.Errorf("note %+v", n)
		}
	}
}
