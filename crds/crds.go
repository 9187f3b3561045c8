// Package crds carries the CustomResourceDefinitions of fairlead.io, which controller-gen writes out of api/v1alpha1, and
// under compat/ those of networking.istio.io for a cluster that lacks them.
package crds

import "embed"

// Files holds <group>_<plural>.yaml, one definition each.
//
//go:embed *.yaml compat/*.yaml
var Files embed.FS
