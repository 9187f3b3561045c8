package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/pkg/server"
)

// publisher is where --trust-bundle puts the roots.
func (f *identityFlags) publisher(i *server.Identity, client kubernetes.Interface) (func(context.Context, []byte) error, error) {
	kind, where, _ := strings.Cut(f.publish, ":")
	switch {
	case f.publish == "none", f.publish == "" && client == nil:
		return nil, nil
	case f.publish == "":
		return server.PublishConfigMap(client, i.Account.Namespace, trustBundleMap), nil
	case kind == "configmap" && client == nil:
		return nil, errors.New("--trust-bundle: a ConfigMap needs a cluster (--source=kube); use file:PATH")
	case kind == "configmap":
		namespace, name, ok := strings.Cut(where, "/")
		if !ok || namespace == "" || name == "" {
			return nil, fmt.Errorf("--trust-bundle=%s: write configmap:NAMESPACE/NAME", f.publish)
		}
		return server.PublishConfigMap(client, namespace, name), nil
	case kind == "file":
		if info, err := os.Stat(filepath.Dir(where)); where == "" || err != nil || !info.IsDir() {
			return nil, fmt.Errorf("--trust-bundle=%s: its folder is not there; make it", f.publish)
		}
		return server.PublishFile(where), nil
	}
	return nil, fmt.Errorf("--trust-bundle=%s: use configmap:NAMESPACE/NAME, file:PATH or none", f.publish)
}
