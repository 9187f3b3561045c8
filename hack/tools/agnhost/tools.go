//go:build tools

// Package agnhost pins the server and client that the suites of network policy run in pods; hack/tools/install.sh builds it. Its
// library for SCTP is replaced by folder sctp, which needs no SCTP of the kernel's.
package agnhost

import _ "k8s.io/kubernetes/test/images/agnhost"
