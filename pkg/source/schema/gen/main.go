// Command gen copies the schemas of the Gateway API's CustomResourceDefinitions out of the module that go.mod requires,
// without their descriptions, into a folder.
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

func generate(to string) error {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		return fmt.Errorf("find the gateway-api module: %w", err)
	}
	from := filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "experimental")
	for _, plural := range []string{"gatewayclasses", "gateways", "httproutes", "referencegrants"} {
		text, err := os.ReadFile(filepath.Join(from, "gateway.networking.k8s.io_"+plural+".yaml"))
		if err != nil {
			return fmt.Errorf("read schema: %w", err)
		}
		out, err := bare(text)
		if err != nil {
			return fmt.Errorf("read schema of %s: %w", plural, err)
		}
		if err := os.WriteFile(filepath.Join(to, plural+".json"), out, 0o644); err != nil {
			return fmt.Errorf("write schema: %w", err)
		}
	}
	return nil
}

// bare gives the v1 schema of a definition, as JSON, without descriptions.
func bare(text []byte) ([]byte, error) {
	var crd apiext.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		return nil, err
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == "v1" {
			strip(v.Schema.OpenAPIV3Schema)
			out, err := json.Marshal(v.Schema.OpenAPIV3Schema)
			return append(out, '\n'), err
		}
	}
	return nil, fmt.Errorf("it has no version v1")
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
