//go:build tools

// Package networkpolicyapi pins the conformance suite of ClusterNetworkPolicy; hack/tools/install.sh builds its test binary.
package networkpolicyapi

import _ "sigs.k8s.io/network-policy-api/conformance"
