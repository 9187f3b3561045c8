package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/rotate"
	"fairlead.io/fairlead/pkg/server"
)

// mountedIdentity is what a server makes of --ca=mounted, and what it says about it.
func mountedIdentity(t *testing.T, where string, conditions *server.Conditions) (*server.Identity, string, error) {
	t.Helper()
	var log strings.Builder
	f := identityFlags{ca: "mounted:" + where}
	i := &server.Identity{}
	err := f.outside(i, &serveFlags{}, &server.Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Conditions: conditions})
	return i, log.String(), err
}

// Files that somebody else writes have a folder of our own beside them: what is trusted and which nodes there are outlive a restart.
func TestMountedKeepsItsState(t *testing.T) {
	dir, own := t.TempDir(), filepath.Join(t.TempDir(), "own")
	first, log, err := mountedIdentity(t, dir+","+own, nil)
	if err != nil || log != "" || first.Roster == nil {
		t.Fatalf("roster %v, log %q, %v", first.Roster, log, err)
	}
	made, err := authority.Generate(spiffeid.RequireTrustDomainFromString("cluster.local"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	saved := authority.State{Sequence: 7, Signing: made.ID, Generations: []authority.Generation{made}}
	if _, err := first.Store.Save(t.Context(), saved, ""); err != nil {
		t.Fatal(err)
	}
	if err := first.Roster.Update(t.Context(), func([]rotate.Present) []rotate.Present { return []rotate.Present{{Node: "n1"}} }); err != nil {
		t.Fatal(err)
	}

	next, _, err := mountedIdentity(t, dir+","+own, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, _, err := next.Store.Load(t.Context()); err != nil || s.Sequence != 7 {
		t.Errorf("after a restart the state is %d, %v", s.Sequence, err)
	}
	err = next.Roster.Update(t.Context(), func(list []rotate.Present) []rotate.Present {
		if len(list) != 1 || list[0].Node != "n1" {
			t.Errorf("after a restart the nodes are %v", list)
		}
		return list
	})
	if err != nil {
		t.Error(err)
	}
}

// Where nothing is kept the log says what that costs, and with a cluster a folder is refused: replicas would disagree.
func TestMountedElsewhere(t *testing.T) {
	dir := t.TempDir()
	i, log, err := mountedIdentity(t, dir, nil)
	if err != nil || i.Roster != nil || !strings.Contains(log, "write --ca=mounted:DIR,STATE") {
		t.Errorf("without anything: roster %v, log %q, %v", i.Roster, log, err)
	}
	cluster := &server.Conditions{REST: &rest.Config{Host: "https://127.0.0.1:1"}}
	if i, log, err = mountedIdentity(t, dir, cluster); err != nil || i.Roster == nil || log != "" {
		t.Errorf("on a cluster: roster %v, log %q, %v", i.Roster, log, err)
	}
	if _, _, err = mountedIdentity(t, dir+","+dir, cluster); err == nil || !strings.Contains(err.Error(), "write mounted:"+dir) {
		t.Errorf("a folder on a cluster: %v", err)
	}
	if _, _, err = mountedIdentity(t, "/no/such/folder,"+dir, nil); err == nil || !strings.Contains(err.Error(), "there is no such folder") {
		t.Errorf("no folder: %v", err)
	}
}
