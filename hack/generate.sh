#!/usr/bin/env bash
# Writes what is generated from api/: deep copies beside the types, CRDs in crds/
# and crds/compat/. Running it twice changes nothing; CI runs it and fails on drift.
# controller-gen is built once from hack/tools/controller-gen, a module of its own
# so that its dependencies stay out of the server's.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v0.23.0
bin=${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}/bin
gen=$bin/controller-gen-$version
if [ ! -x "$gen" ]; then
  mkdir -p "$bin"
  # Built aside and renamed, so that an interrupted or parallel run leaves no half binary.
  go build -C hack/tools/controller-gen -o "$gen.$$" sigs.k8s.io/controller-tools/cmd/controller-gen
  mv "$gen.$$" "$gen"
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# allowDangerousTypes: percentages are JSON numbers with fractions, as in Istio's API.
"$gen" object paths=./api/v1alpha1 \
  crd:allowDangerousTypes=true output:crd:dir="$out" paths=./api/v1alpha1
go run ./hack/crdgen "$out" crds
