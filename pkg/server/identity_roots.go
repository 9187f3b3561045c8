package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authority"
)

// RootsKey is where the roots are in the ConfigMap that agents mount.
const RootsKey = "root-cert.pem"

// roots verify certificates of our trust domain and its aliases; of no other one, federated or not.
func (i *identity) roots(td spiffeid.TrustDomain) []*x509.Certificate {
	if !ca.Ours(i.td, i.cfg.Aliases, td) {
		return nil
	}
	return i.authority.State().Roots()
}

func rootsPEM(s authority.State) []byte {
	var b bytes.Buffer
	for _, r := range s.Roots() {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: r.Raw}) // a Buffer takes everything
	}
	return b.Bytes()
}

// PublishConfigMap keeps the roots in a ConfigMap. It needs get and update of that name, and create in the namespace.
func PublishConfigMap(client kubernetes.Interface, namespace, name string) func(context.Context, []byte) error {
	maps := client.CoreV1().ConfigMaps(namespace)
	return func(ctx context.Context, roots []byte) error {
		old, err := maps.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, err = maps.Create(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/managed-by": "fairlead"}},
				Data:       map[string]string{RootsKey: string(roots)},
			}, metav1.CreateOptions{})
		case err == nil && old.Data[RootsKey] != string(roots):
			next := old.DeepCopy()
			if next.Data == nil {
				next.Data = map[string]string{}
			}
			next.Data[RootsKey] = string(roots)
			_, err = maps.Update(ctx, next, metav1.UpdateOptions{})
		}
		if err != nil {
			return fmt.Errorf("write ConfigMap %s/%s: %w", namespace, name, err)
		}
		return nil
	}
}

// PublishFile keeps the roots in a file, which is replaced as a whole.
func PublishFile(path string) func(context.Context, []byte) error {
	return func(_ context.Context, roots []byte) error {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, roots) {
			return nil
		}
		f, err := os.CreateTemp(filepath.Dir(path), ".roots-*")
		if err != nil {
			return fmt.Errorf("write roots: %w", err)
		}
		defer func() { _ = os.Remove(f.Name()) }() // when it has not become the file
		_, err = f.Write(roots)
		if err == nil {
			err = f.Chmod(0o644)
		}
		if e := f.Close(); err == nil {
			err = e
		}
		if err == nil {
			err = os.Rename(f.Name(), path)
		}
		if err != nil {
			return fmt.Errorf("write roots: %w", err)
		}
		return nil
	}
}
