package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// agent remembers what it was asked, and answers what it is told to.
type agent struct {
	mu     sync.Mutex
	asked  []Request
	answer error
	net    string // what the path of the namespace leads to
}

func (a *agent) do(r Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r)
	a.net, _ = os.Readlink(r.NetNS)
	return a.answer
}

func (a *agent) Add(_ context.Context, r Request) error   { return a.do(r) }
func (a *agent) Check(_ context.Context, r Request) error { return a.do(r) }
func (a *agent) Del(_ context.Context, r Request) error   { return a.do(r) }

// rig is a plugin and an agent.
type rig struct {
	*agent
	t              *testing.T
	socket, plugin string
	stop           func()
}

func newRig(t *testing.T) *rig {
	dir, err := os.MkdirTemp("", "cni-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{agent: &agent{}, t: t, socket: filepath.Join(dir, "s"), plugin: filepath.Join(dir, PluginName)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, r.plugin); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, r.agent, slog.New(slog.DiscardHandler)) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

const previous = `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.1.0.7/24","interface":0},{"address":"fd01::7/64"}]}`

// call runs the plugin as a runtime does, and gives what it prints.
func (r *rig) call(command, namespace, prev string) (out map[string]any, failed bool) {
	r.t.Helper()
	cmd := exec.Command(r.plugin)
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS=" + r.plugin + ".netns", "CNI_PATH=/opt/cni/bin",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=uid-1",
	}
	cmd.Stdin = strings.NewReader(`{"cniVersion":"1.0.0","name":"net","type":"fairlead-cni","socket":"` + r.socket + `","exempt":["kube-system"],"waitMilliseconds":5000` + prev + `}`)
	raw, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			r.t.Fatalf("%s prints %q: %v", command, raw, err)
		}
	}
	return out, err != nil
}

// TestPlugin calls the plugin as a container runtime does.
func TestPlugin(t *testing.T) {
	r := newRig(t)
	own := r.plugin + ".netns" // any file is as good
	put(t, own, "")
	out, failed := r.call("ADD", "shop", previous)
	if failed || len(r.asked) != 1 {
		t.Fatalf("ADD: %v %v", out, r.asked)
	}
	if ips := out["ips"].([]any); len(ips) != 2 || out["cniVersion"] != "1.0.0" {
		t.Errorf("the result of the plugins before has changed: %v", out)
	}
	q := r.asked[0]
	if q.Command != "ADD" || q.Namespace != "shop" || q.Name != "web-0" || q.UID != "uid-1" || q.Interface != "eth0" || len(q.Addresses) != 2 || q.Addresses[0].String() != "10.1.0.7" {
		t.Errorf("asked %+v", q)
	}
	if r.net != own {
		t.Errorf("the network namespace is %q, not %q", r.net, own)
	}

	r.answer = errors.New("its policy is not known")
	if out, failed = r.call("ADD", "shop", previous); !failed || out["code"] != 11.0 || !strings.Contains(out["msg"].(string), "pod shop/web-0 is held back: its policy is not known") {
		t.Errorf("ADD that is refused: %v", out)
	}
	if out, failed = r.call("CHECK", "shop", previous); !failed {
		t.Errorf("CHECK that is refused: %v", out)
	}
	if out, failed = r.call("DEL", "shop", previous); failed {
		t.Errorf("DEL: %v", out)
	}
	n := len(r.asked)
	if out, failed = r.call("ADD", "kube-system", previous); failed || len(r.asked) != n {
		t.Errorf("ADD of what is exempt: %v, asked %v", out, r.asked[n:])
	}
	if out, failed = r.call("ADD", "shop", ""); !failed {
		t.Errorf("ADD as the first plugin: %v", out)
	}
	if out, failed = r.call("VERSION", "", ""); failed || len(out["supportedVersions"].([]any)) == 0 {
		t.Errorf("VERSION: %v", out)
	}

	r.stop()
	if out, failed = r.call("ADD", "shop", previous); !failed || !strings.Contains(out["msg"].(string), "the agent does not answer at "+r.socket) {
		t.Errorf("ADD without an agent: %v", out)
	}
	if out, failed = r.call("ADD", "kube-system", previous); failed {
		t.Errorf("ADD of what is exempt, without an agent: %v", out)
	}
	if out, failed = r.call("DEL", "shop", previous); failed {
		t.Errorf("DEL without an agent: %v", out)
	}
}
