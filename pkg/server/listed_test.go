package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/barrier/replicas"
	pkgstatus "fairlead.io/fairlead/pkg/status"
	"fairlead.io/fairlead/pkg/translate"
)

// leases is an API server that has Leases of replicas and nothing else, and writes them once it is allowed to.
type leases struct {
	allowed          atomic.Bool
	refused, written atomic.Int64
}

func (l *leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	code, body := http.StatusNotFound, any(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Message: "not here", Code: http.StatusNotFound,
	})
	lease := map[string]any{"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": map[string]any{"name": replicas.Prefix + "a"}}
	if strings.Contains(r.URL.Path, "/leases/"+replicas.Prefix) && r.Method == http.MethodPatch {
		if l.allowed.Load() {
			l.written.Add(1)
			code, body = http.StatusOK, lease
		} else {
			l.refused.Add(1)
		}
	}
	if strings.HasSuffix(r.URL.Path, "/leases") && r.Method == http.MethodGet {
		code, body = http.StatusOK, map[string]any{"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "items": []any{}}
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

// newLeased is a server that keeps a Lease there.
func newLeased(t *testing.T, l *leases, grace time.Duration) *identified {
	t.Helper()
	api := httptest.NewServer(l)
	t.Cleanup(api.Close)
	return newBegun(t, func(c *Config) {
		c.Grace = grace
		c.Conditions = &Conditions{REST: &rest.Config{Host: api.URL}, Lease: &pkgstatus.Lease{Namespace: "ns", Name: "fairlead-status", Identity: "a"}}
	})
}

// A replica that others cannot know serves nobody by TLS and is not ready; it does both when its Lease is written.
func TestTheLeaseComesFirst(t *testing.T) {
	l := &leases{}
	i := newLeased(t, l, time.Hour)
	i.tell()
	eventually(t, func() error {
		if l.refused.Load() < 2 || i.ready() != nil {
			return errors.New("the Lease is not tried again")
		}
		return nil
	})
	if err := i.trusted(); err == nil || !strings.Contains(err.Error(), "Lease has not been written") {
		t.Errorf("before the Lease: %v", err)
	}
	if _, err := admin.NewClient(i.Admin()).Raw(t.Context(), "/readyz"); err == nil || !strings.Contains(err.Error(), "Lease has not been written") {
		t.Errorf("ready before the Lease: %v", err)
	}
	if s := i.identity.authority.State(); s.Sequence != 0 {
		t.Errorf("bundle %d was read before the Lease was written: a rotation that goes on meanwhile would be missed", s.Sequence)
	}
	conn := i.as("spiffe://cluster.local/node/a/uid-a")
	if _, err := agent(t, conn, "a", translate.WorkloadType); status.Code(err) != codes.Unavailable {
		t.Errorf("a node before the Lease: %v", err)
	}
	l.allowed.Store(true)
	eventually(t, i.servable)
	if l.written.Load() == 0 {
		t.Error("it serves without a Lease")
	}
	if names, err := agent(t, i.as("spiffe://cluster.local/node/a/uid-a"), "a", translate.WorkloadType); err != nil || len(names) != 1 {
		t.Errorf("a node after it: %v, %v", names, err)
	}
}

// One whose Lease is never written serves after Grace.
func TestNoLeaseIsNotForEver(t *testing.T) {
	l := &leases{}
	i := newLeased(t, l, time.Millisecond)
	i.tell()
	eventually(t, i.trusted)
	if l.written.Load() != 0 {
		t.Error("the Lease was written: this shows nothing")
	}
}
