//go:build tools

// Package istiod pins the istiod that the benchmark runs beside Fairlead; hack/tools/install.sh builds it.
package istiod

import _ "istio.io/istio/pilot/cmd/pilot-discovery"
