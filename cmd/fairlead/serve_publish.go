package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/pkg/ca/federation"
	"fairlead.io/fairlead/pkg/server"
)

// federation checks the flags about other trust domains; nil without any.
func (f *identityFlags) federation(cfg *server.Config) (*server.Federation, error) {
	out := &server.Federation{Address: f.bundle, Issuer: f.issuer}
	var err error
	if f.federate != "" {
		if out.Relations, err = federation.Load(f.federate); err != nil {
			return nil, fmt.Errorf("--federate=%s: %w", f.federate, err)
		}
	}
	if f.bundle == "" {
		if f.bundleCert != "" || f.issuer != "" {
			return nil, errors.New("--bundle-certificate and --jwt-issuer belong to --bundle-address: say where, such as 0.0.0.0:15013")
		}
		return out, nil
	}
	if _, err := server.ParseRemote(f.bundle); err != nil {
		return nil, fmt.Errorf("--bundle-address: %w", err)
	}
	if f.issuer != "" && !strings.HasPrefix(f.issuer, "https://") {
		return nil, fmt.Errorf("--jwt-issuer=%s: write an https URL", f.issuer)
	}
	if f.bundleCert != "" {
		cert, key, ok := strings.Cut(f.bundleCert, ",")
		if !ok {
			return nil, fmt.Errorf("--bundle-certificate=%s: write CERT.pem,KEY.pem", f.bundleCert)
		}
		pair, err := federation.NewCertificateFile(cert, key, cfg.Log)
		if err != nil {
			return nil, fmt.Errorf("--bundle-certificate=%s: %w", f.bundleCert, err)
		}
		out.Certificate = pair.GetCertificate
	}
	return out, nil
}

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
