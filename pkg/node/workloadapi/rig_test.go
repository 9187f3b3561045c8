package workloadapi

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	client "github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/node/attest"
	"fairlead.io/fairlead/pkg/node/workloadapi/idtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const domain = "example.org"

// rig is a server on a real socket. A client says which pod it is by the address that it binds to.
type rig struct {
	*idtest.Identities
	t      *testing.T
	server *Server
	reg    *prometheus.Registry
	path   string
	procs  *processes
}

func start(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{
		Identities: idtest.New(t, domain), t: t, path: filepath.Join(t.TempDir(), "s"), reg: prometheus.NewRegistry(), procs: &processes{},
	}
	c := Config{Identities: r.Identities, Attestor: r.procs, Registry: r.reg}
	for _, fn := range change {
		fn(&c)
	}
	r.server = New(c)
	l, err := net.Listen("unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- r.server.Serve(l) }()
	t.Cleanup(func() {
		r.server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

var dials atomic.Int64

// as are the options of a client that is a process of a pod.
func (r *rig) as(uid string) client.ClientOption {
	return client.WithDialOptions(grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		from := &net.UnixAddr{Name: fmt.Sprintf("@%s/%d/%s", uid, dials.Add(1), filepath.Base(filepath.Dir(r.path))), Net: "unix"}
		return net.DialUnix("unix", from, &net.UnixAddr{Name: r.path, Net: "unix"})
	}))
}

func (r *rig) options(uid string) client.SourceOption {
	return client.WithClientOptions(client.WithAddr("unix://"+r.path), r.as(uid))
}

func (r *rig) client(uid string) *client.Client {
	r.t.Helper()
	c, err := client.New(r.t.Context(), client.WithAddr("unix://"+r.path), r.as(uid))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// within is a context that ends a test that hangs.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually looks until it is so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// processes attests by the address that the client is bound to.
type processes struct {
	mu  sync.Mutex
	bad error // what Alive gives
}

func (p *processes) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bad = err
}

func (p *processes) Attest(_ context.Context, c *net.UnixConn) (*attest.Caller, error) {
	uid, _, ok := strings.Cut(strings.TrimPrefix(c.RemoteAddr().String(), "@"), "/")
	if !ok {
		return nil, attest.ErrNoPod
	}
	return attest.NewCaller(uid, 1, &proof{of: p, gone: make(chan struct{})}), nil
}

type proof struct {
	of   *processes
	gone chan struct{}
	once sync.Once
}

func (p *proof) Alive() error {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	return p.of.bad
}
func (p *proof) Gone() <-chan struct{} { return p.gone }
func (p *proof) Close()                { p.once.Do(func() { close(p.gone) }) }
