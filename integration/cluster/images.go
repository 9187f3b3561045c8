package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The images that every node has.
const (
	pauseImage   = "fairlead.test/pause:1"
	coreDNSImage = "fairlead.test/coredns:1"
	// ProbeImage is what tests run in pods: integration/cluster/images/probe, and a shell.
	ProbeImage = "fairlead.test/probe:1"
)

const module = "fairlead.io/fairlead"

// Build compiles a package of this module ("./cmd/fairlead" from its root) to a static binary of that name in folder dir.
func Build(ctx context.Context, dir, pkg string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, module+strings.TrimPrefix(pkg, "."))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := run(cmd); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	return out, nil
}

// baseImages packs what every node has, and returns the archive.
func (c *Cluster) baseImages(ctx context.Context) (string, error) {
	dir := filepath.Join(c.dir, "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	var pause, probe string
	err := together(
		func() (err error) { pause, err = Build(ctx, dir, "./integration/cluster/images/pause"); return err },
		func() (err error) { probe, err = Build(ctx, dir, "./integration/cluster/images/probe"); return err },
	)
	if err != nil {
		return "", err
	}
	shell, err := WithShell(Image{
		Refs: []string{ProbeImage}, Entrypoint: []string{"/probe"}, Cmd: []string{"serve"}, Files: map[string]string{"/probe": probe},
	})
	if err != nil {
		return "", err
	}
	images := []Image{{Refs: []string{pauseImage}, Entrypoint: []string{"/pause"}, Files: map[string]string{"/pause": pause}}, shell}
	if c.Options.DNS {
		images = append(images, Image{
			Refs: []string{coreDNSImage}, Entrypoint: []string{"/coredns"}, Files: map[string]string{"/coredns": c.tools["coredns"]},
		})
	}
	archive := filepath.Join(dir, "base.tar")
	return archive, Pack(archive, images...)
}

// WithShell adds a busybox with all its commands to an image.
func WithShell(image Image) (Image, error) {
	tools, err := findTools()
	if err != nil {
		return image, err
	}
	out, err := exec.Command(tools["busybox"], "--list").Output()
	if err != nil {
		return image, fmt.Errorf("list commands of busybox: %w", err)
	}
	if image.Links == nil {
		image.Links = map[string]string{}
	}
	for name := range strings.FieldsSeq(string(out)) {
		if name != "busybox" {
			image.Links["/bin/"+name] = "busybox"
		}
	}
	image.Files["/bin/busybox"] = tools["busybox"]
	return image, nil
}

// Load packs images and imports them into every node, and into those that are added later. Pods that use one need
// imagePullPolicy Never or IfNotPresent: nothing can be pulled.
func (c *Cluster) Load(ctx context.Context, images ...Image) error {
	if len(images) == 0 || len(images[0].Refs) == 0 {
		return errors.New("load images: none is named")
	}
	archive := filepath.Join(c.dir, "images", strings.NewReplacer("/", "_", ":", "_").Replace(images[0].Refs[0])+".tar")
	if err := Pack(archive, images...); err != nil {
		return err
	}
	return each(c.Nodes, func(n *Node) error {
		if _, err := n.Pid(); err != nil {
			return nil // it is down; see Node.Up
		}
		return n.importImages(ctx, archive)
	})
}

// archives are all that have been loaded.
func (c *Cluster) archives() ([]string, error) {
	return filepath.Glob(filepath.Join(c.dir, "images", "*.tar"))
}

// Kubectl runs kubectl as administrator, and returns what it printed. stdin may be empty.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := c.Command(ctx, c.tools["kubectl"], args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// KubectlCommand is kubectl as administrator.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	return c.Command(ctx, c.tools["kubectl"], args...)
}

// Apply applies manifests; a field that their kinds do not have is an error.
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	_, err := c.Kubectl(ctx, manifests, "apply", "--validate=strict", "-f", "-")
	return err
}

// Exec runs a command in a running pod ("deployment/web" is one of its pods), and returns what it printed.
func (c *Cluster) Exec(ctx context.Context, namespace, pod string, command ...string) (string, error) {
	return c.Kubectl(ctx, "", append([]string{"exec", "-n", namespace, pod, "--"}, command...)...)
}
