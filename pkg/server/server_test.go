package server

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
)

// scripted is a source that does what a test says.
type scripted struct{ sink chan source.Sink }

func (s scripted) Run(ctx context.Context, sink source.Sink) error {
	select {
	case s.sink <- sink:
	case <-ctx.Done():
		return nil
	}
	<-ctx.Done()
	return nil
}

func service(name string) source.Update {
	svc := &model.Service{Ports: []model.ServicePort{{Name: "http", Number: 80, Protocol: "TCP"}}}
	svc.Ref = model.Ref{Kind: "Service", Namespace: "default", Name: name}
	svc.ResourceVersion, svc.UID = "1", name
	return source.Update{Ref: svc.Ref, Object: svc}
}

// serving runs a server until the end of the test.
func serving(t *testing.T, src Source) (*Server, *admin.Client) {
	t.Helper()
	dir := t.TempDir()
	s, err := New(Config{
		Mesh: resolve.DefaultConfig(), Source: src, Version: "test",
		XDS: "unix:" + filepath.Join(dir, "x"), Admin: "unix:" + filepath.Join(dir, "a"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, admin.NewClient(s.Admin())
}

// eventually polls until fn has no objection.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestNothingIsServedBeforeTheSourceHasSynced(t *testing.T) {
	src := scripted{make(chan source.Sink)}
	s, client := serving(t, src)
	sink := <-src.sink
	sink.Apply([]source.Update{service("a")}, source.Position{Seen: 1})
	sink.Apply([]source.Update{service("b")}, source.Position{Seen: 2, Complete: 1})
	if _, err := client.Raw(t.Context(), "/readyz"); err == nil || !strings.Contains(err.Error(), "has not been read completely") {
		t.Errorf("ready before Synced: %v", err)
	}
	if _, err := client.Raw(t.Context(), "/healthz"); err != nil {
		t.Errorf("not healthy: %v", err)
	}
	if snap := s.Flow().Source.Latest(); snap != nil {
		t.Errorf("snapshot %d before Synced", snap.Seq())
	}
	sink.Synced()
	eventually(t, func() error { _, err := client.Raw(t.Context(), "/readyz"); return err })
	snap := s.Flow().Source.Latest()
	if snap.Seq() != 1 || snap.Position() != 2 || snap.Complete() != 1 {
		t.Errorf("first snapshot has seq %d, position %d and is complete up to %d, want 1, 2 and 1: a part of the input was published, or too much claimed", snap.Seq(), snap.Position(), snap.Complete())
	}
}

func TestProblemsAreShownUntilWithdrawn(t *testing.T) {
	src := scripted{make(chan source.Sink)}
	_, client := serving(t, src)
	sink := <-src.sink
	sink.Synced()
	sink.Report(source.Problem{File: "a.yaml", Line: 3, Message: "no"})
	page, err := client.Status(t.Context())
	if err != nil || len(page.Problems) != 1 || page.Problems[0].Line != 3 {
		t.Fatalf("problems %+v, %v", page.Problems, err)
	}
	sink.Report(source.Problem{File: "a.yaml"})
	if page, err = client.Status(t.Context()); err != nil || len(page.Problems) != 0 {
		t.Errorf("after its end: %+v, %v", page.Problems, err)
	}
}

func TestAFailingSourceStopsTheServer(t *testing.T) {
	s, err := New(Config{Mesh: resolve.DefaultConfig(), Source: failing{}, XDS: "127.0.0.1:0", Admin: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "read source: broken") {
		t.Errorf("Run: %v", err)
	}
}

type failing struct{}

func (failing) Run(context.Context, source.Sink) error { return errors.New("broken") }

func TestNewNamesEveryWrongField(t *testing.T) {
	_, err := New(Config{XDS: "0.0.0.0:1", Admin: "here"})
	for _, want := range []string{"source:", "xds:", "admin:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
