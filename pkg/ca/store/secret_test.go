package store_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
)

func TestSecret(t *testing.T) {
	server := kube.Start(t, kube.Options{})
	client := func() *kubernetes.Clientset {
		config := server.Config()
		c, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	shared := client()
	secrets := func(ns string) func() authority.Store {
		return func() authority.Store { return store.NewSecret(shared, ns, "fairlead-ca") }
	}

	t.Run("keeps", func(t *testing.T) {
		ns := server.Namespace(t)
		keeps(t, secrets(ns))
		obj, err := shared.CoreV1().Secrets(ns).Get(t.Context(), "fairlead-ca", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if obj.Type != corev1.SecretTypeOpaque || obj.Labels["app.kubernetes.io/managed-by"] != "fairlead" || len(obj.Data) != 1 {
			t.Errorf("secret: %s, %v, %d entries", obj.Type, obj.Labels, len(obj.Data))
		}
	})

	t.Run("one first", func(t *testing.T) {
		ns := server.Namespace(t)
		oneFirst(t, 5, func(int) authority.Store { return store.NewSecret(client(), ns, "fairlead-ca") })
	})

	t.Run("not ours", func(t *testing.T) {
		ns := server.Namespace(t)
		obj := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-ca"}, Data: map[string][]byte{"tls.key": []byte("x")}}
		if _, err := shared.CoreV1().Secrets(ns).Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s := store.NewSecret(shared, ns, "fairlead-ca")
		if _, _, err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "not ours") || s.Err() == nil {
			t.Errorf("load: %v", err)
		}
		a := authority.New(authority.Config{TrustDomain: td, Store: s})
		keep := func(s authority.State) (authority.State, error) { return s, nil }
		if _, err := a.Update(t.Context(), keep); err == nil {
			t.Error("a Secret that is not ours is used")
		}
	})

	t.Run("broken, then removed", func(t *testing.T) {
		ns := server.Namespace(t)
		s := store.NewSecret(shared, ns, "fairlead-ca")
		a := run(t, s)
		<-a.Ready()
		id := a.State().Signing
		api := shared.CoreV1().Secrets(ns)
		obj, err := api.Get(t.Context(), "fairlead-ca", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		obj.Data["state.json"] = []byte("{")
		if _, err := api.Update(t.Context(), obj, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if s.Err() == nil {
				return errors.New("a broken Secret is no error")
			}
			return nil
		})
		if got, err := signs(a, a); err != nil || got != id {
			t.Errorf("with a broken Secret signs %s, %v", got, err)
		}
		if err := api.Delete(t.Context(), "fairlead-ca", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			got, _, err := store.NewSecret(shared, ns, "fairlead-ca").Load(t.Context())
			if err == nil && got.Signing != id {
				err = fmt.Errorf("made again with %s", got.Signing)
			}
			return err
		})
	})

	t.Run("read only", func(t *testing.T) {
		ns := server.Namespace(t)
		<-run(t, store.NewSecret(client(), ns, "fairlead-ca")).Ready()
		c := rest.CopyConfig(server.Config())
		c.Wrap(func(next http.RoundTripper) http.RoundTripper { return readOnly{next} })
		k, err := kubernetes.NewForConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		s := store.NewSecret(k, ns, "fairlead-ca")
		a := run(t, s)
		<-a.Ready()
		next, err := authority.Generate(td, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Update(t.Context(), func(s authority.State) (authority.State, error) { return authority.Add(s, next) })
		if err == nil || s.Err() == nil || !strings.Contains(s.Err().Error(), "write Secret "+ns+"/fairlead-ca: ") {
			t.Errorf("a Secret that may not be written: %v; the store says %v", err, s.Err())
		}
	})

	// Last, because it stops the API server.
	t.Run("outage", func(t *testing.T) {
		ns := server.Namespace(t)
		kept := store.NewSecret(client(), ns, "fairlead-ca")
		a, b := run(t, kept), run(t, store.NewSecret(client(), ns, "fairlead-ca"))
		<-a.Ready()
		<-b.Ready()
		if err := server.Down(); err != nil {
			t.Fatal(err)
		}
		if _, err := signs(a, b); err != nil {
			t.Errorf("without an API server: %v", err)
		}
		next, err := authority.Generate(td, a.State().Generations[0].Created)
		if err != nil {
			t.Fatal(err)
		}
		add := func(s authority.State) (authority.State, error) { return authority.Add(s, next) }
		if _, err := a.Update(t.Context(), add); err == nil || apierrors.IsConflict(err) {
			t.Errorf("saved without an API server: %v", err)
		}
		if err := kept.Err(); err == nil || !strings.Contains(err.Error(), "read Secret "+ns+"/fairlead-ca: ") {
			t.Errorf("without an API server the store says %v", err)
		}
		if err := server.Up(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { _, err := a.Update(t.Context(), add); return err })
		if err := kept.Err(); err != nil {
			t.Errorf("with an API server again: %v", err)
		}
		eventually(t, func() error {
			if !b.Bundle().HasX509Authority(next.Issuer) {
				return errors.New("the other replica has not got the new authority")
			}
			return nil
		})
	})
}

// readOnly is an account without the verb update.
type readOnly struct{ next http.RoundTripper }

func (r readOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPut {
		return &http.Response{
			StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"text/plain"}}, Request: req,
			Body: io.NopCloser(strings.NewReader("secrets is forbidden")),
		}, nil
	}
	return r.next.RoundTrip(req)
}
