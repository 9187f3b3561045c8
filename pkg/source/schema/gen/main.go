// Command gen copies the schemas of the CustomResourceDefinitions of the Gateway API and the Network Policy API out of the modules
// that go.mod requires, without their descriptions, into a folder.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FOLDER")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// modules are what schemas are copied of: the version that is read, and the kinds.
var modules = []struct {
	path, group, folder, version string
	plurals                      []string
}{
	{
		"sigs.k8s.io/gateway-api", "gateway.networking.k8s.io", "gateway-api", "v1",
		[]string{"gatewayclasses", "gateways", "httproutes", "referencegrants"},
	},
	{"sigs.k8s.io/network-policy-api", "policy.networking.k8s.io", "network-policy-api", "v1alpha2", []string{"clusternetworkpolicies"}},
}

func generate(to string) error {
	for _, m := range modules {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", m.path).Output()
		if err != nil {
			return fmt.Errorf("find module %s: %w", m.path, err)
		}
		from := filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "experimental")
		if err := os.MkdirAll(filepath.Join(to, m.folder), 0o755); err != nil {
			return fmt.Errorf("write schema: %w", err)
		}
		for _, plural := range m.plurals {
			text, err := os.ReadFile(filepath.Join(from, m.group+"_"+plural+".yaml"))
			if err != nil {
				return fmt.Errorf("read schema: %w", err)
			}
			out, err := bare(text, m.version)
			if err != nil {
				return fmt.Errorf("read schema of %s: %w", plural, err)
			}
			if err := os.WriteFile(filepath.Join(to, m.folder, plural+".json"), out, 0o644); err != nil {
				return fmt.Errorf("write schema: %w", err)
			}
		}
	}
	return nil
}

// bare gives the schema of a version of a definition, as JSON, without descriptions.
func bare(text []byte, version string) ([]byte, error) {
	var crd apiext.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		return nil, err
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == version {
			strip(v.Schema.OpenAPIV3Schema)
			out, err := json.Marshal(v.Schema.OpenAPIV3Schema)
			return append(out, '\n'), err
		}
	}
	return nil, fmt.Errorf("it has no version %s", version)
}

func strip(s *apiext.JSONSchemaProps) {
	if s == nil {
		return
	}
	s.Description = ""
	for name, p := range s.Properties {
		strip(&p)
		s.Properties[name] = p
	}
	if s.Items != nil {
		strip(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		strip(s.AdditionalProperties.Schema)
	}
	for _, list := range [][]apiext.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			strip(&list[i])
		}
	}
}
