package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
)

// TestGoldenInEnvoy loads the input of every golden of pkg/translate into one running Envoy, one after the other. Each must
// make active what the golden output names, and nothing may be refused.
func TestGoldenInEnvoy(t *testing.T) {
	inputs, err := filepath.Glob("../pkg/translate/testdata/*/in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden inputs: %v", err)
	}
	m := mesh.Start(t, mesh.Options{Config: func(c *resolve.Config) {
		address := c.GatewayAddress
		*c = resolve.DefaultConfig() // what the goldens are made with
		c.GatewayAddress = address
	}})
	e := m.Envoys[0]
	for _, in := range inputs {
		t.Run(filepath.Base(filepath.Dir(in)), func(t *testing.T) {
			manifests, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			want := goldenNames(t, filepath.Join(filepath.Dir(in), "xds.yaml"), m.Address.String())
			m.Apply("golden", string(manifests))
			mesh.Eventually(t, func() error { return sameNames(e, want) })
			n, names, err := e.UpdateRejected()
			if err != nil || n > 0 {
				t.Fatalf("envoy refused %d updates %s (%v): %s", n, names, err, m.Rejections())
			}
		})
	}
}

// goldenNames lists the resources of a golden output by their type in Envoy's dump, sorted.
func goldenNames(t *testing.T, path, address string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		kind, name, ok := strings.Cut(strings.TrimPrefix(line, "# "), " ")
		if ok && strings.HasPrefix(line, "# ") && i > 0 && lines[i-1] == "---" {
			out[kind] = append(out[kind], strings.Replace(name, "0.0.0.0", address, 1))
		}
	}
	return out
}

// sameNames compares the active listeners and clusters, and the route tables, with those wanted.
func sameNames(e *envoy.Envoy, want map[string][]string) error {
	got, err := activeNames(e)
	if err != nil {
		return err
	}
	for _, kind := range []string{"Listener", "Cluster"} {
		if w := slices.Sorted(slices.Values(want[kind])); !slices.Equal(got[kind], w) {
			return fmt.Errorf("active are the %ss %q, want %q", kind, got[kind], w)
		}
	}
	for _, name := range want["RouteConfiguration"] {
		if name != model.HostTable && !slices.Contains(got["RouteConfiguration"], name) { // only some listeners ask for the host table
			return fmt.Errorf("there is no route table %q among %q", name, got["RouteConfiguration"])
		}
	}
	return nil
}

// named is a resource in a dump, in the part that carries its name.
type named struct {
	Name string `json:"name"`
}

// configDump is the part of Envoy's dump that tells what is active.
type configDump struct {
	Configs []struct {
		Listeners []struct {
			Name   string          `json:"name"`
			Active json.RawMessage `json:"active_state"`
			Error  json.RawMessage `json:"error_state"`
			Drain  json.RawMessage `json:"draining_state"`
		} `json:"dynamic_listeners"`
		Clusters []struct {
			Cluster named `json:"cluster"`
		} `json:"dynamic_active_clusters"`
		Warming []struct {
			Cluster named `json:"cluster"`
		} `json:"dynamic_warming_clusters"`
		Routes []struct {
			Config named `json:"route_config"`
		} `json:"dynamic_route_configs"`
	} `json:"configs"`
}

// activeNames lists what serves, by type, sorted; our fixed clusters are left out, and what warms or failed is an error.
func activeNames(e *envoy.Envoy) (map[string][]string, error) {
	data, err := e.ConfigDump()
	if err != nil {
		return nil, err
	}
	var dump configDump
	if err := json.Unmarshal(data, &dump); err != nil {
		return nil, fmt.Errorf("read envoy's dump: %w", err)
	}
	out := map[string][]string{}
	for _, c := range dump.Configs {
		for _, l := range c.Listeners {
			if len(l.Active) == 0 && len(l.Drain) > 0 {
				continue // a former golden's; it serves its connections for ten minutes, and keeps its routes
			}
			if len(l.Active) == 0 || len(l.Error) > 0 {
				return nil, fmt.Errorf("listener %s is not active: %s", l.Name, l.Error)
			}
			out["Listener"] = append(out["Listener"], l.Name)
		}
		for _, w := range c.Warming {
			return nil, fmt.Errorf("cluster %s is warming", w.Cluster.Name)
		}
		for _, cl := range c.Clusters {
			if !strings.HasPrefix(cl.Cluster.Name, "fairlead/") {
				out["Cluster"] = append(out["Cluster"], cl.Cluster.Name)
			}
		}
		for _, r := range c.Routes {
			out["RouteConfiguration"] = append(out["RouteConfiguration"], r.Config.Name)
		}
	}
	for kind := range out {
		slices.Sort(out[kind])
		out[kind] = slices.Compact(out[kind])
	}
	return out, nil
}
