package policy

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"
	"sigs.k8s.io/yaml"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var testMesh = MeshConfig{TrustDomain: "mesh.example", Aliases: []string{"old.example"}, Root: DefaultRoot()}

// TestGolden compiles the objects of testdata/<kind>/<case>.in.yaml, and compares with <case>.out.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.in.yaml")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".in.yaml"), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for i, doc := range bytes.Split(in, []byte("\n---\n")) {
				if i > 0 {
					got.WriteString("\n")
				}
				for _, p := range compileDocument(t, doc) {
					got.WriteString(describe(p))
				}
			}
			golden := strings.TrimSuffix(file, ".in.yaml") + ".out"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("compiled otherwise (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDocumentedExamples compiles the manifests of docs/policy.md: nothing of them is refused, and each says something.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, examples, _ := strings.Cut(string(text), "## Examples")
	var blocks []string
	for _, line := range strings.Split(examples, "\n") {
		code, is := strings.CutPrefix(line, "    ")
		switch {
		case is && (code == "---" || strings.HasPrefix(code, "apiVersion: ")):
			blocks = append(blocks, code+"\n")
		case is:
			blocks[len(blocks)-1] += code + "\n"
		}
	}
	found := 0
	for _, b := range blocks {
		if b == "---\n" {
			continue
		}
		for _, p := range compileDocument(t, []byte(b)) {
			found++
			if len(p.Subjects) == 0 || len(p.Rules) == 0 || slices.ContainsFunc(p.Notes, func(n Note) bool { return n.Refused }) {
				t.Errorf("an example says too little:\n%s", describe(p))
			}
		}
	}
	if found != 3 {
		t.Errorf("%d examples", found)
	}
}

// compileDocument compiles one object. Fields that its kind lacks are issues of it, as the sources make them.
func compileDocument(t *testing.T, doc []byte) []*Policy {
	t.Helper()
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Namespace, Name string
			Annotations     map[string]string
		} `json:"metadata"`
		// The test's own: paths of fields that the reader did not know, and of values that it could not read.
		Issues []string `json:"unknown"`
		Wrong  []string `json:"wrong"`
	}
	if err := yaml.Unmarshal(doc, &head); err != nil {
		t.Fatal(err)
	}
	group, _, _ := strings.Cut(head.APIVersion, "/")
	meta := model.Meta{Ref: model.Ref{Group: group, Kind: head.Kind, Namespace: head.Metadata.Namespace, Name: head.Metadata.Name}}
	meta.Annotations = head.Metadata.Annotations
	for _, path := range head.Issues {
		meta.Issues = append(meta.Issues, model.FieldIssue{Path: path, Unknown: true, Message: "no such field"})
	}
	for _, path := range head.Wrong {
		meta.Issues = append(meta.Issues, model.FieldIssue{Path: path, Message: "it needs a list"})
	}
	decode := func(into any) {
		if err := yaml.UnmarshalStrict(doc, into); err != nil {
			t.Fatal(err)
		}
	}
	type top struct {
		APIVersion any `json:"apiVersion"`
		Kind       any `json:"kind"`
		Metadata   any `json:"metadata"`
		Unknown    any `json:"unknown"`
		Wrong      any `json:"wrong"`
	}
	switch head.Kind {
	case "NetworkPolicy":
		var o struct {
			top
			Spec networkingv1.NetworkPolicySpec `json:"spec"`
		}
		decode(&o)
		return []*Policy{NetworkPolicy(&model.Object[networkingv1.NetworkPolicySpec]{Meta: meta, Spec: o.Spec})}
	case "ClusterNetworkPolicy":
		var o struct {
			top
			Spec policyv1alpha2.ClusterNetworkPolicySpec `json:"spec"`
		}
		decode(&o)
		return []*Policy{ClusterNetworkPolicy(&model.Object[policyv1alpha2.ClusterNetworkPolicySpec]{Meta: meta, Spec: o.Spec})}
	case "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy":
		var o struct {
			top
			ciliumv2.Rules
		}
		decode(&o)
		return CiliumPolicy(&model.Object[ciliumv2.Rules]{Meta: meta, Spec: o.Rules}, DefaultCluster)
	case "AuthorizationPolicy":
		var o struct {
			top
			Spec v1alpha1.AuthorizationPolicySpec `json:"spec"`
		}
		decode(&o)
		return []*Policy{AuthorizationPolicy(&model.Object[v1alpha1.AuthorizationPolicySpec]{Meta: meta, Spec: o.Spec}, &testMesh)}
	}
	t.Fatalf("kind %q is not known", head.Kind)
	return nil
}

// describe is a Policy for people.
func describe(p *Policy) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.Ref)
	if p.Audit {
		b.WriteString("  audited\n")
	}
	for i := range p.Subjects {
		fmt.Fprintf(&b, "  subject %s\n", selectorText(&p.Subjects[i]))
	}
	for d := range p.Isolates {
		for f, is := range p.Isolates[d] {
			if is {
				fmt.Fprintf(&b, "  isolates %s, %s\n", directionText[d], familyText[f])
			}
		}
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		name := r.Name
		if name == "" {
			name = "always"
		}
		fmt.Fprintf(&b, "  %s: %s, %s %s", name, directionText[r.Direction], familyText[r.Family], tierText[r.Tier])
		if r.Tier != verdict.Main {
			fmt.Fprintf(&b, " %d", r.Priority)
		}
		fmt.Fprintf(&b, ", %s\n", actionText[r.Action])
		for _, peer := range r.Peers {
			fmt.Fprintf(&b, "    %s\n", peerText(peer))
		}
		var ports []string
		for _, q := range r.Ports {
			ports = append(ports, portText(q))
		}
		for _, n := range r.Named {
			ports = append(ports, fmt.Sprintf("%d/%q", n.Protocol, n.Name))
		}
		fmt.Fprintf(&b, "    ports %s\n", strings.Join(ports, " "))
	}
	for _, n := range p.Notes {
		kind := "warning"
		if n.Refused {
			kind = "refused"
		}
		fmt.Fprintf(&b, "  %s %s: %s: %s\n", kind, n.Reason, n.Path, n.Message)
	}
	return b.String()
}

var (
	directionText = []string{verdict.Egress: "egress", verdict.Ingress: "ingress"}
	familyText    = []string{verdict.Network: "network", verdict.Mesh: "mesh"}
	tierText      = []string{verdict.Admin: "admin", verdict.Main: "main", verdict.Baseline: "baseline"}
	actionText    = []string{verdict.Allow: "allow", verdict.Deny: "deny", verdict.Pass: "pass"}
)

func portText(p verdict.Ports) string {
	switch {
	case p == verdict.AnyPort:
		return "any"
	case p.First == 0 && p.Last == 0xffff:
		return fmt.Sprintf("%d/all", p.Protocol)
	case p.First == p.Last:
		return fmt.Sprintf("%d/%d", p.Protocol, p.First)
	}
	return fmt.Sprintf("%d/%d-%d", p.Protocol, p.First, p.Last)
}

func peerText(p Peer) string {
	switch {
	case p.Pods != nil:
		return selectorText(p.Pods)
	case p.Range != nil:
		text := p.Range.CIDR.String()
		for _, x := range p.Range.Except {
			text += " but " + x.String()
		}
		if p.Range.World {
			text += " in the world"
		}
		return text
	case p.Service != nil:
		text := "service in " + p.Service.Namespace
		if p.Service.Namespace == "" {
			text = "service anywhere"
		}
		return text + " " + p.Service.Name + requirementsText(" with ", p.Service.Labels)
	}
	var all []string
	for i, name := range []string{"all", "world", "pods", "host", "remote-node", "kube-apiserver"} {
		if p.Entity&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return strings.Join(all, "|")
}

func selectorText(s *Selector) string {
	text := "pods"
	if s.Nodes {
		text = "nodes"
	}
	if s.Namespaces != nil {
		text += fmt.Sprintf(" in %v", s.Namespaces)
	}
	text += requirementsText(" in namespaces with ", s.NamespaceLabels) + requirementsText(" with ", s.Labels)
	if s.ServiceAccounts != nil {
		text += fmt.Sprintf(" as %v", s.ServiceAccounts)
	}
	for _, q := range s.Names {
		not := ""
		if q.Not {
			not = " not"
		}
		text += fmt.Sprintf(" whose %s is%s %q", q.Of, not, q.Patterns)
	}
	return text
}

func requirementsText(before string, list []Requirement) string {
	var all []string
	for _, q := range list {
		text := fmt.Sprintf("%s %s", q.Key, q.Operator)
		if len(q.Values) > 0 {
			text += " " + strings.Join(q.Values, "|")
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return ""
	}
	return before + strings.Join(slices.Clone(all), ", ")
}
