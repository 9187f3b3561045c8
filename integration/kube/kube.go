// Package kube runs a real etcd and kube-apiserver, without nodes and controllers, for tests of what talks to a cluster.
//
// It is the world before the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} →
// ACK/NACK: source/kube reads it, and status writes to it. Without controllers nothing is garbage-collected, no namespace is
// finalised, no EndpointSlice is made of a Service, and pods need no service account.
package kube

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/integration/process"
)

// The versions that hack/tools/versions.sh pins.
const (
	EtcdVersion       = "v3.6.16"
	KubernetesVersion = "v1.35.4"
)

// Administrators is the group that RBAC lets do everything.
const Administrators = "system:masters"

// startTimeout bounds a start: 3 s alone, much more on a busy machine.
const startTimeout = 90 * time.Second

// Options are what a test may choose; the zero value is a working server.
type Options struct {
	APIServerArgs []string // more flags, "--feature-gates=X=true"
}

// Server is one API server with an etcd of its own. Several may run at once.
type Server struct {
	dir             string
	apiPath         string
	args            []string
	pki             *PKI
	adminCert       []byte
	adminKey        []byte
	etcdPort        *port
	peerPort        *port
	apiPort         *port
	etcd, apiserver *process.Process
}

// Start runs a server until the end of t. When t fails, the end of its log is shown.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the kube-apiserver:\n%s", s.Log())
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Run is Start for a TestMain (see Main); the caller stops it.
func Run(o Options) (*Server, error) {
	etcdPath, err := process.Find("etcd-"+EtcdVersion, "")
	if err != nil {
		return nil, err
	}
	apiPath, err := process.Find("kube-apiserver-"+KubernetesVersion, "")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kube-")
	if err != nil {
		return nil, fmt.Errorf("start kube-apiserver: %w", err)
	}
	s := &Server{dir: dir, apiPath: apiPath, args: o.APIServerArgs}
	if err := s.run(etcdPath); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) run(etcdPath string) (err error) {
	for _, p := range []**port{&s.etcdPort, &s.peerPort, &s.apiPort} {
		if *p, err = reservePort(); err != nil {
			return err
		}
	}
	if s.pki, err = NewPKI(s.dir); err != nil {
		return err
	}
	if err := s.pki.Serve("apiserver", []string{"localhost"}, net.IPv4(127, 0, 0, 1)); err != nil {
		return err
	}
	if s.adminCert, s.adminKey, err = s.pki.Client("admin", Administrators); err != nil {
		return err
	}
	client, peer := loopbackURL(s.etcdPort), loopbackURL(s.peerPort)
	s.etcd, err = process.Start("etcd", s.dir, etcdPath,
		"--data-dir="+filepath.Join(s.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn", "--socket-reuse-port",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	if err != nil {
		return err
	}
	return s.Up()
}

func loopbackURL(p *port) string { return "http://127.0.0.1:" + strconv.Itoa(p.number) }

// Up starts the API server after Down; Run has called it. It returns when /readyz says ok.
func (s *Server) Up() error {
	in := func(name string) string { return filepath.Join(s.dir, name) }
	args := append([]string{
		"--etcd-servers=" + loopbackURL(s.etcdPort), "--secure-port=" + strconv.Itoa(s.apiPort.number), "--permit-port-sharing",
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + in("apiserver.crt"), "--tls-private-key-file=" + in("apiserver.key"), "--client-ca-file=" + in("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + in("sa.key"), "--service-account-signing-key-file=" + in("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--disable-admission-plugins=ServiceAccount", // nobody makes service accounts here
		"--profiling=false",
	}, s.args...)
	p, err := process.Start("apiserver", s.dir, s.apiPath, args...)
	if err != nil {
		return err
	}
	s.apiserver = p
	tls, err := rest.TLSConfigFor(s.Config())
	if err != nil {
		return fmt.Errorf("start kube-apiserver: %w", err)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: tls, DisableKeepAlives: true}}
	return p.Wait(startTimeout, func() error {
		if gone, err := s.etcd.Exited(); gone {
			return err
		}
		return ready(client, s.Config().Host)
	})
}

func ready(client *http.Client, host string) error {
	res, err := client.Get(host + "/readyz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz says %s", res.Status)
	}
	return nil
}

// Down kills the API server and keeps its etcd: to its clients, an outage.
func (s *Server) Down() error {
	if s.apiserver == nil {
		return nil
	}
	// Not SIGTERM: an API server waits a minute for its watchers.
	return s.apiserver.Stop(0)
}

// Restart is Down, then Up: every watch breaks, the address and the objects stay.
func (s *Server) Restart() error {
	if err := s.Down(); err != nil {
		return err
	}
	return s.Up()
}

// Stop ends both processes and removes their folder.
func (s *Server) Stop() error {
	errs := []error{s.Down()}
	if s.etcd != nil {
		errs = append(errs, s.etcd.Stop(0))
	}
	for _, p := range []*port{s.etcdPort, s.peerPort, s.apiPort} {
		if p != nil {
			errs = append(errs, p.release())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// Log returns the end of what the API server wrote, restarts included.
func (s *Server) Log() string {
	if s.apiserver == nil {
		return ""
	}
	return s.apiserver.Log(16 << 10)
}

// Config returns a client configuration for an administrator, without client-side rate limits. Each call makes a new one.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host: "https://127.0.0.1:" + strconv.Itoa(s.apiPort.number), QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.pki.CA, CertData: s.adminCert, KeyData: s.adminKey},
	}
}

// Kubeconfig writes the administrator's kubeconfig and returns its path, for what is run as a process.
func (s *Server) Kubeconfig() (string, error) {
	path := filepath.Join(s.dir, "kubeconfig")
	return path, WriteKubeconfig(path, s.Config().Host, s.pki.CA, s.adminCert, s.adminKey)
}
