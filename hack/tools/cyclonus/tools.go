//go:build tools

// Package cyclonus pins a suite of network policy; hack/tools/install.sh builds it.
package cyclonus

import _ "github.com/mattfenwick/cyclonus/cmd/cyclonus"
