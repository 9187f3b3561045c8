//go:build tools

// Package tools pins the command line of Hubble, by which our flows are read in a test.
package tools

import _ "github.com/cilium/cilium/hubble"
