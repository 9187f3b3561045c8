// Package demo carries the manifests that `fairlead demo` serves, and those that `fairlead check` is shown to refuse.
package demo

import "embed"

// Manifests holds manifests/*.yaml. The port numbers in them (18080 … 18199) are what the demo replaces by free ones.
//
//go:embed manifests/*.yaml
var Manifests embed.FS
