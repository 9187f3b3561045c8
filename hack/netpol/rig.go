package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/cluster/install"
	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/integration/process"
)

// rig is a cluster that suites run on.
type rig struct {
	options
	cni, proxy string
	cluster    *cluster.Cluster
	sources    string // of the network policy API's module
}

// start makes a cluster with all that the suites need. What they run in pods is agnhost, under the names that they know.
func start(ctx context.Context, o options, cni, proxy string) (*rig, error) {
	sources, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/network-policy-api").Output()
	if err != nil {
		return nil, fmt.Errorf("find module of the network policy API: %w", err)
	}
	r := &rig{options: o, cni: cni, proxy: proxy, sources: strings.TrimSpace(string(sources))}
	var images []cluster.Image
	if len(o.suites) > 0 {
		image, err := r.agnhost(ctx)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	if r.cluster, err = cluster.Up(ctx, cluster.Options{Name: "netpol", CNI: cni, Proxy: proxy, DNS: true}); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx, images); err != nil {
		return nil, errors.Join(err, r.cluster.Down(true))
	}
	return r, nil
}

func (r *rig) prepare(ctx context.Context, images []cluster.Image) error {
	for _, image := range images {
		if err := r.cluster.Load(ctx, image); err != nil {
			return err
		}
	}
	crds := filepath.Join(r.sources, "config", "crd", "experimental", "policy.networking.k8s.io_clusternetworkpolicies.yaml")
	if _, err := r.cluster.Kubectl(ctx, "", "apply", "--server-side", "-f", crds); err != nil {
		return err
	}
	if !r.fairlead {
		return nil
	}
	if err := install.Run(ctx, r.cluster, install.Config{Tag: "netpol"}); err != nil {
		return err
	}
	return install.Wait(ctx, r.cluster)
}

// registry is the name under which cyclonus and the end-to-end tests are told to look for images.
const registry = "fairlead.test"

// agnhost packs it under all names.
func (r *rig) agnhost(ctx context.Context) (image cluster.Image, err error) {
	names, err := r.imageNames(ctx)
	if err != nil {
		return image, err
	}
	binary, err := process.Find("agnhost-"+kube.KubernetesVersion+"-"+agnhostSCTP, "")
	if err != nil {
		return image, missing("agnhost", err)
	}
	// Manifests of the network policy API call bash by its name.
	files, err := cluster.Libraries("/bin/bash")
	if err != nil {
		return image, err
	}
	files["/bin/bash"], files["/agnhost"] = "/bin/bash", binary
	return cluster.WithShell(cluster.Image{Refs: names, Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, Files: files})
}

// imageNames are those that the suites' pods have.
func (r *rig) imageNames(ctx context.Context) ([]string, error) {
	names := []string{registry + "/" + cyclonusImage}
	manifests, err := os.ReadFile(filepath.Join(r.sources, "conformance", "base", "manifests.yaml"))
	if err != nil {
		return nil, err
	}
	for _, m := range regexp.MustCompile(`image: (\S+/agnhost:\S+)`).FindAllStringSubmatch(string(manifests), -1) {
		names = append(names, m[1])
	}
	if slices.Contains(r.suites, "e2e") {
		asked, err := r.askImages(ctx)
		if err != nil {
			return nil, err
		}
		names = append(names, asked...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// askImages has the end-to-end tests say which agnhosts they want.
func (r *rig) askImages(ctx context.Context) (names []string, err error) {
	binary, err := process.Find("netpol-e2e-"+kube.KubernetesVersion, "")
	if err != nil {
		return nil, missing("netpol-e2e", err)
	}
	list := exec.CommandContext(ctx, binary, "--list-images")
	if err := r.useRegistry(list); err != nil {
		return nil, err
	}
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("list images of the end-to-end tests: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if name := strings.TrimSpace(line); strings.HasPrefix(name, registry+"/") && strings.Contains(name, "/agnhost:") {
			names = append(names, name)
		}
	}
	return names, nil
}

// useRegistry has the end-to-end tests look for images in our registry.
func (r *rig) useRegistry(cmd *exec.Cmd) error {
	list := filepath.Join(r.logs, "registries.yaml")
	if err := os.WriteFile(list, []byte("promoterE2eRegistry: "+registry+"/e2e\n"), 0o600); err != nil {
		return err
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "KUBE_TEST_REPO_LIST="+list)
	return nil
}

func missing(tool string, err error) error {
	return fmt.Errorf("%s is missing: run hack/tools/install.sh conformance: %w", tool, err)
}

// suite runs one, and says how it goes.
func (r *rig) suite(ctx context.Context, name string) (result, error) {
	s := suites()[name]
	out := result{Suite: name, Version: s.version, CNI: r.cni, Proxy: r.proxy, Checkout: checkout(ctx), Fairlead: r.fairlead}
	base := filepath.Join(r.logs, fmt.Sprintf("%s-%s-%s", name, r.cni, r.proxy))
	log, err := os.Create(base + ".log")
	if err != nil {
		return out, err
	}
	defer log.Close()
	cmd, err := s.command(ctx, r, base)
	if err != nil {
		return out, err
	}
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = io.MultiWriter(log, writer), log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is ours to pass on
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return out, err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		_ = writer.Close()
		ended <- err
	}()
	p := s.parser()
	last := begin
	lines := bufio.NewReader(reader)
	for {
		line, err := lines.ReadString('\n')
		c, begun := p.line(strings.TrimRight(line, "\r\n"))
		if begun != "" {
			fmt.Printf("[%s, %s, %s] %d: %s\n", r.cni, r.proxy, name, p.total(), begun)
		}
		if c.Name != "" {
			if c.Seconds == 0 {
				c.Seconds = time.Since(last).Round(100 * time.Millisecond).Seconds()
			}
			last = time.Now()
			out.Cases = append(out.Cases, c)
			fmt.Printf("[%s, %s, %s] %d of %d: %s: %s\n", r.cni, r.proxy, name, len(out.Cases), p.total(), c.outcome(), c.Name)
		}
		if err != nil {
			break
		}
	}
	out.exit, out.log = <-ended, base+".log"
	out.Total, out.Seconds = p.total(), int(time.Since(begin).Seconds())
	return out, errors.Join(s.finish(base, &out), ctx.Err())
}
