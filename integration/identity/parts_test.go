package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/integration/process"
	nodeagent "fairlead.io/fairlead/pkg/node/agent"
)

// part is a process of ours that a test can stop, kill and start again.
type part struct {
	w       *world
	name    string
	args    []string
	binary  string
	process *process.Process
	// cgroup is where it runs, if that matters.
	cgroup string
}

// intoCgroup has a shell move into the cgroup of its first argument, in all hierarchies, and become the rest.
const intoCgroup = `at=$1; shift
for f in /sys/fs/cgroup"$at"/cgroup.procs /sys/fs/cgroup/*"$at"/cgroup.procs; do [ ! -e "$f" ] || echo $$ >"$f" || exit 1; done
exec "$@"`

func (p *part) start() {
	p.w.Helper()
	var err error
	path, args := filepath.Join(binaries, p.binary), p.args
	if p.cgroup != "" {
		path, args = "/bin/sh", append([]string{"-c", intoCgroup, "sh", p.cgroup, path}, args...)
	}
	if p.process, err = process.Start(p.name, p.w.dir, path, args...); err != nil {
		p.w.Fatal(err)
	}
}

// stop ends it in good order; kill does not.
func (p *part) stop() { p.end(10 * time.Second) }
func (p *part) kill() { p.end(0) }

func (p *part) end(grace time.Duration) {
	p.w.Helper()
	if err := p.process.Stop(grace); err != nil {
		p.w.Error(err)
	}
}

// live starts a part until the end of the test; its log is shown when that fails.
func (w *world) live(p *part) *part {
	p.w = w
	p.start()
	w.Cleanup(func() {
		if w.Failed() {
			w.Logf("log of %s:\n%s", p.name, p.process.Log(24<<10))
		}
		p.stop()
	})
	return p
}

// server is one replica of the control plane.
type server struct {
	*part
	tls, admin string
}

// server starts a replica that keeps its authority in a Secret, with more flags.
func (w *world) server(flags ...string) *server {
	w.Helper()
	name := fmt.Sprintf("server-%d", len(w.servers))
	s := &server{tls: freeAddress(w), admin: "unix:" + filepath.Join(w.dir, name+".sock")}
	args := append([]string{
		"serve", "--source=kube", "--kubeconfig=" + w.config, "--tls-address=" + s.tls, "--admin=" + s.admin, "--ca=secret",
		"--svid-ttl-min=1s", "--lease-namespace=" + system, "--grace=3s",
	}, flags...)
	s.part = w.live(&part{name: name, binary: "fairlead", args: args})
	w.servers = append(w.servers, s)
	return s
}

// ready waits until the replica is: it has read the cluster, and can sign.
func (s *server) ready() {
	s.w.Helper()
	socket := strings.TrimPrefix(s.admin, "unix:")
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	s.w.eventually(s.name+" is ready", func() error {
		if gone, err := s.process.Exited(); gone {
			s.w.Fatal(err)
		}
		res, err := client.Get("http://localhost/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	})
}

// agent is the agent of one node.
type agent struct {
	*part
	node, sds, workload, admin string
}

// agent makes a node, and starts its agent with a token that is bound to a pod there.
func (w *world) agent(node string) *agent {
	w.Helper()
	return w.agentIn(node, "")
}

// agentIn is agent in a cgroup: beside it the agent looks for pods.
func (w *world) agentIn(node, cgroup string) *agent {
	w.Helper()
	w.node(node)
	pod := "fairlead-node-" + node
	w.pod(system, pod, "fairlead-node", node)
	in := func(what string) string { return filepath.Join(w.dir, node+"-"+what) }
	a := &agent{node: node, sds: in("sds"), workload: in("workload"), admin: "unix:" + in("admin")}
	args := []string{
		"--node-name=" + node, "--token=" + w.token(system, pod, "fairlead-node", "fairlead", node+"-token"),
		"--trust-bundle=" + w.bundle(), "--sds-socket=" + a.sds, "--workload-socket=" + a.workload, "--admin=" + a.admin,
		"--svid-ttl=" + w.ttl.String(),
	}
	for _, s := range w.servers {
		args = append(args, "--server="+s.tls)
	}
	a.part = w.live(&part{name: "agent-" + node, binary: "fairlead-node", args: args, cgroup: cgroup})
	w.agents[node] = a
	return a
}

// ready waits until the agent has its node's SVID and those of these identities.
func (a *agent) ready(ids ...string) {
	a.w.Helper()
	a.w.eventually(a.name+" is ready", func() error {
		if gone, err := a.process.Exited(); gone {
			a.w.Fatal(err)
		}
		s, err := a.status()
		if err != nil {
			return err
		}
		if s.NotReady != "" {
			return errors.New(s.NotReady)
		}
		have := map[string]bool{}
		for i := range s.Identities {
			have[s.Identities[i].ID] = s.Identities[i].Left > 0
		}
		for _, id := range ids {
			if !have[id] {
				return fmt.Errorf("no SVID of %s: %+v", id, s.Identities)
			}
		}
		return nil
	})
}

func (a *agent) status() (*nodeagent.Status, error) {
	return nodeagent.FetchStatus(a.w.Context(), a.admin)
}

// bundle mounts the ConfigMap with the roots, as a kubelet would.
func (w *world) bundle() string {
	w.Helper()
	path := filepath.Join(w.dir, "root-cert.pem")
	w.eventually("the roots are published", func() error {
		m, err := w.client.CoreV1().ConfigMaps(system).Get(w.Context(), "fairlead-trust-bundle", metav1.GetOptions{})
		if err == nil && m.Data["root-cert.pem"] == "" {
			err = errors.New("the ConfigMap has no root-cert.pem")
		}
		if err != nil {
			return err
		}
		return swap(path, []byte(m.Data["root-cert.pem"]))
	})
	return path
}

// swap replaces a file as a whole, as kubelets do: an agent may read it at any moment.
func swap(path string, content []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func freeAddress(w *world) string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
