// Package install puts this checkout's Fairlead on a cluster of package cluster, as config/install says: by an overlay that
// changes the images, and flags where a test must not wait, as anybody would.
//
// It is the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK as a whole, in
// pods.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/process"
	"fairlead.io/fairlead/pkg/bootstrap"
)

// Namespace is where Fairlead is.
const Namespace = "fairlead-system"

const (
	image      = "fairlead.test/fairlead"
	envoyImage = "fairlead.test/envoy"
)

// Workloads are those of config/install, in the order in which they can become ready.
func Workloads() []string {
	return []string{"deployment/fairlead", "daemonset/fairlead-node", "daemonset/fairlead-envoy"}
}

// Config is what may be chosen. Tag tells versions of the images apart: the same one again does not replace pods.
type Config struct {
	Tag string
	// Bin is a folder where Build has been; Run builds by itself without it.
	Bin string
	// ServerFlags are further flags of the server.
	ServerFlags []string
}

// binaries are those of this module that the image holds.
var binaries = []string{"fairlead", "fairlead-node"}

// Build compiles this checkout's programs into a folder.
func Build(ctx context.Context, dir string) error {
	for _, name := range binaries {
		if _, err := cluster.Build(ctx, dir, "./cmd/"+name); err != nil {
			return fmt.Errorf("install fairlead: %w", err)
		}
	}
	return nil
}

// Run builds, loads and applies; it does not wait for pods.
func Run(ctx context.Context, c *cluster.Cluster, cfg Config) error {
	if cfg.Bin == "" {
		dir, err := os.MkdirTemp("", "fairlead-image-")
		if err != nil {
			return fmt.Errorf("install fairlead: %w", err)
		}
		defer os.RemoveAll(dir)
		cfg.Bin = dir
		if err := Build(ctx, dir); err != nil {
			return err
		}
	}
	if err := load(ctx, c, cfg); err != nil {
		return fmt.Errorf("install fairlead: %w", err)
	}
	dir, err := Overlay(ctx, cfg)
	if err != nil {
		return fmt.Errorf("install fairlead: %w", err)
	}
	defer os.RemoveAll(dir)
	if _, err := c.Kubectl(ctx, "", "apply", "--server-side", "--validate=strict", "-k", dir); err != nil {
		return fmt.Errorf("install fairlead: %w", err)
	}
	return nil
}

// Wait waits until all workloads are there as a whole.
func Wait(ctx context.Context, c *cluster.Cluster) error {
	for _, w := range Workloads() {
		if err := c.Rollout(ctx, Namespace, w); err != nil {
			return err
		}
	}
	return nil
}

// load packs the image that the Dockerfile describes, and an Envoy with the libraries of this machine.
func load(ctx context.Context, c *cluster.Cluster, cfg Config) error {
	files := map[string]string{}
	for _, name := range binaries {
		files["/usr/local/bin/"+name] = filepath.Join(cfg.Bin, name)
	}
	envoy, err := process.Find("envoy-"+bootstrap.EnvoyVersion, "")
	if err != nil {
		return err
	}
	envoyFiles, err := cluster.Libraries(envoy)
	if err != nil {
		return err
	}
	envoyFiles["/usr/local/bin/envoy"] = envoy
	return errors.Join(
		c.Load(ctx, cluster.Image{
			Refs: []string{image + ":" + cfg.Tag}, Entrypoint: []string{"/usr/local/bin/fairlead"}, Cmd: []string{"serve", "--source=kube"},
			User: "65532:65532", Files: files,
		}),
		c.Load(ctx, cluster.Image{
			Refs: []string{envoyImage + ":" + cfg.Tag}, Entrypoint: []string{"/usr/local/bin/envoy"}, User: "65532:65532", Files: envoyFiles,
		}))
}

// Overlay writes a kustomization of config/install with the images and flags of Run; the caller removes the folder.
func Overlay(ctx context.Context, cfg Config) (dir string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "fairlead-overlay-"); err != nil {
		return "", err
	}
	base, err := filepath.Rel(dir, filepath.Join(root, "config", "install")) // kustomize takes no absolute path
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
images:
- {name: fairlead, newName: %s, newTag: %s}
- {name: envoyproxy/envoy, newName: %s, newTag: %s}
`, base, image, cfg.Tag, envoyImage, cfg.Tag)
	for i, flag := range cfg.ServerFlags {
		if i == 0 {
			text += "patches:\n- target: {kind: Deployment, name: fairlead}\n  patch: |-\n"
		}
		text += fmt.Sprintf("    - {op: add, path: /spec/template/spec/containers/0/args/-, value: %q}\n", flag)
	}
	return dir, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600)
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
