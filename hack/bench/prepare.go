package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/pkg/process"
)

// parts is what a run is made of.
type parts struct {
	dir              string // for logs and binaries; removed at the end
	cache            string // of the tools
	fairlead, istiod string // binaries
	istiodVersion    string
	crds             []string
}

// prepare installs the tools that are missing, and builds Fairlead.
func prepare(ctx context.Context, o options, dir string) (*parts, error) {
	p := &parts{dir: dir, fairlead: filepath.Join(dir, "fairlead"), istiodVersion: "not measured"}
	var err error
	if p.cache, err = process.CacheDir(os.Getenv); err != nil {
		return nil, err
	}
	tools := []string{"etcd", "kube-apiserver"}
	if o.has("istiod") {
		tools = append(tools, "istiod")
	}
	progress("tools: %s", strings.Join(tools, ", "))
	if err := shown(ctx, "hack/tools/install.sh", tools...); err != nil {
		return nil, err
	}
	progress("build Fairlead")
	// The flags of make build: what that has compiled is not compiled again.
	if err := shown(ctx, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", p.fairlead, "./cmd/fairlead"); err != nil {
		return nil, err
	}
	gatewayAPI, err := kube.GatewayAPICRDs("standard")
	if err != nil {
		return nil, err
	}
	p.crds = []string{gatewayAPI, "crds"}
	if !o.has("istiod") {
		p.crds = append(p.crds, "crds/compat")
		return p, nil
	}
	istio, err := istioCRDs(ctx)
	if err != nil {
		return nil, err
	}
	p.crds = append(p.crds, istio.crds)
	p.istiodVersion = istio.version
	p.istiod, err = process.Find(p.cache, "istiod-"+istio.version, "")
	return p, err
}

type istioModule struct{ version, crds string }

// istioCRDs finds Istio's own CRDs in the module that hack/tools/istiod pins: all of its kinds, as in a cluster that has it.
func istioCRDs(ctx context.Context) (istioModule, error) {
	out, err := command(ctx, "go", "-C", "hack/tools/istiod", "mod", "download", "-json", "istio.io/istio")
	if err != nil {
		return istioModule{}, err
	}
	var m struct{ Dir, Version string }
	if err := json.Unmarshal(out, &m); err != nil {
		return istioModule{}, fmt.Errorf("find the module of istiod: %w", err)
	}
	return istioModule{m.Version, filepath.Join(m.Dir, "manifests", "charts", "base", "files", "crd-all.gen.yaml")}, nil
}

// shown runs a program whose words are for the user: it may take minutes.
func shown(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// command runs a program and gives its standard output.
func command(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, &out)
	}
	return out.Bytes(), nil
}
