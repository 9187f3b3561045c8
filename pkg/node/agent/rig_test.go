package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

const patience = 15 * time.Second

// rig is an agent beside its control plane.
type rig struct {
	server *nodetest.Server
	dir    string
	cfg    Config
	log    *log
	stop   func()
}

// log keeps what an agent has written.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{server: nodetest.NewServer(t), dir: dir, log: &log{}}
	r.writeToken(t, "good")
	r.cfg = Config{
		Servers: []string{r.server.Address}, ServerID: nodetest.ServerID, Node: "node-a", Token: filepath.Join(dir, "token"),
		TrustHash: r.hash(), SDSSocket: filepath.Join(dir, "sds", "s"), SDSGroup: -1, Admin: "unix:" + filepath.Join(dir, "admin"),
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "test",
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.log)
		}
	})
	return r
}

func (r *rig) writeToken(t *testing.T, token string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "token"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) hash() string {
	sum := sha256.Sum256(r.server.CA.State().Roots()[0].Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// bundle writes the roots of an authority to a file.
func bundle(t *testing.T, a *nodetest.Authority, path string) string {
	t.Helper()
	var b bytes.Buffer
	for _, c := range a.State().Roots() {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs the agent until stop, or the end of the test.
func (r *rig) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, r.cfg) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
}

func (r *rig) status() (*Status, error) { return FetchStatus(context.Background(), r.cfg.Admin) }

// valid waits until these identities, and no others of pods, are valid.
func (r *rig) valid(t *testing.T, names ...string) *Status {
	t.Helper()
	var got *Status
	eventually(t, fmt.Sprintf("identities %v", names), func() (err error) {
		if got, err = r.status(); err != nil {
			return err
		}
		var has []string
		for _, i := range got.Identities {
			if i.State == keeper.Valid && !i.Node {
				has = append(has, i.ID[strings.LastIndex(i.ID, "/")+1:])
			}
		}
		if fmt.Sprint(has) != fmt.Sprint(names) || got.NotReady != "" {
			return fmt.Errorf("%v are valid; %q", has, got.NotReady)
		}
		return nil
	})
	return got
}

func eventually(t *testing.T, what string, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// page reads an admin page.
func (r *rig) page(t *testing.T, path string) (int, string) {
	t.Helper()
	res, err := client(r.cfg.Admin).Get("http://agent" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b.String()
}

func lines(text, prefix string) (out []string) {
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return out
}
