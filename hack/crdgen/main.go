// Command crdgen finishes the CRDs that controller-gen wrote. It stands beside
// the line: only hack/generate.sh runs it.
//
// From each CRD of fairlead.io in the input folder it writes two: Fairlead's own
// into the output folder, and into compat/ below it the same schema as Istio's
// kind, for clusters that lack Istio's CRDs. Those of cilium.io go to compat/ alone.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

const (
	ciliumGroup   = "cilium.io"
	istioGroup    = "networking.istio.io"
	securityGroup = "security.istio.io"
)

// object is a JSON object; a CRD is edited as one so that nothing is added that
// controller-gen did not write (the typed form would print an empty status).
type object = map[string]any

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: crdgen IN OUT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "crdgen:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	files, err := filepath.Glob(filepath.Join(in, "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("list CRDs in %s: %d found: %w", in, len(files), err)
	}
	compat := filepath.Join(out, "compat")
	for _, dir := range []string{out, compat} {
		if err := empty(dir); err != nil {
			return err
		}
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		own, twin, err := finish(raw)
		if err != nil {
			return fmt.Errorf("finish %s: %w", file, err)
		}
		if own != nil {
			err = write(out, own)
		}
		if err == nil {
			err = write(compat, twin)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish returns Fairlead's CRD and its Istio twin, or Cilium's alone.
func finish(raw []byte) (own, twin object, err error) {
	if err := yaml.Unmarshal(raw, &own); err != nil {
		return nil, nil, err
	}
	schema := own["spec"].(object)["versions"].([]any)[0].(object)["schema"].(object)
	props := schema["openAPIV3Schema"].(object)["properties"].(object)
	for _, spec := range []string{"spec", "specs"} {
		if s, ok := props[spec].(object); ok {
			preserveUnknown(s)
		}
	}
	own["metadata"].(object)["labels"] = object{"app.kubernetes.io/part-of": "fairlead"}
	if own["spec"].(object)["group"] == ciliumGroup {
		return nil, own, nil
	}
	twin, err = istioTwin(own)
	return own, twin, err
}

// preserveUnknown keeps the API server from dropping fields that the schema does
// not have. A dropped field is dropped in silence for everyone whose client does
// not ask for strict validation, and behind it a route or a TLS setting that the
// user believes in; a kept one is named by a condition on the object. The mark
// holds only for the level that it stands on, so every level gets one.
func preserveUnknown(schema object) {
	if props, ok := schema["properties"].(object); ok {
		schema["x-kubernetes-preserve-unknown-fields"] = true
		for _, p := range props {
			preserveUnknown(p.(object))
		}
	}
	for _, below := range []string{"items", "additionalProperties"} {
		if s, ok := schema[below].(object); ok {
			preserveUnknown(s)
		}
	}
}

// istioTwin is the CRD under Istio's group with Istio's versions and names.
// The versions differ in nothing, so no conversion is needed and objects move
// between them, and to Istio's own CRDs, unchanged.
func istioTwin(own object) (object, error) {
	twin, err := copyOf(own)
	if err != nil {
		return nil, err
	}
	spec := twin["spec"].(object)
	names := spec["names"].(object)
	group, category, all := istioGroup, "networking-istio-io", []string{"v1", "v1alpha3", "v1beta1"}
	if names["kind"] == "AuthorizationPolicy" {
		group, category, all = securityGroup, "security-istio-io", []string{"v1", "v1beta1"}
	}
	twin["metadata"].(object)["name"] = names["plural"].(string) + "." + group
	spec["group"] = group
	spec["conversion"] = object{"strategy": "None"}
	names["categories"] = []any{"istio-io", category}
	names["shortNames"] = names["shortNames"].([]any)[:1]

	var versions []any
	for _, name := range all {
		v, err := copyOf(spec["versions"].([]any)[0].(object))
		if err != nil {
			return nil, err
		}
		v["name"] = name
		v["served"] = true
		v["storage"] = name == "v1"
		if name != "v1" {
			// Three full copies of the text pass the 256 KiB that kubectl apply may
			// put into an annotation; v1 is the version that kubectl explain shows.
			dropDescriptions(v["schema"].(object)["openAPIV3Schema"].(object))
		}
		versions = append(versions, v)
	}
	spec["versions"] = versions
	return twin, nil
}

func dropDescriptions(schema object) {
	delete(schema, "description")
	if props, ok := schema["properties"].(object); ok {
		for _, p := range props {
			dropDescriptions(p.(object))
		}
	}
	for _, below := range []string{"items", "additionalProperties"} {
		if s, ok := schema[below].(object); ok {
			dropDescriptions(s)
		}
	}
}

func copyOf(o object) (object, error) {
	b, err := yaml.Marshal(o)
	if err != nil {
		return nil, err
	}
	var c object
	err = yaml.Unmarshal(b, &c)
	return c, err
}

// empty makes the folder and removes the CRDs in it, so that a kind that is gone
// leaves no file behind.
func empty(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

func write(dir string, crd object) error {
	body, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	spec := crd["spec"].(object)
	name := fmt.Sprintf("%s_%s.yaml", spec["group"], spec["names"].(object)["plural"])
	var b bytes.Buffer
	from := "api/v1alpha1"
	if spec["group"] == ciliumGroup {
		from = "api/cilium/v2"
	}
	fmt.Fprintf(&b, "# Generated by hack/generate.sh from %s. Do not edit.\n", from)
	b.Write(body)
	return os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644)
}
