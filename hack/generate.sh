#!/usr/bin/env bash
# Writes what is generated from api/: deep copies beside the types, CRDs in crds/ and crds/compat/, and the Go code of the
# protos beside them. Running it twice changes nothing; CI runs it and fails on drift.
# The generators are built once, from modules of their own in hack/tools/ so that their dependencies stay out of the server's;
# protogen compiles protos in Go, so no protoc is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/versions.sh
. hack/tools/versions.sh

bin=${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}/bin
mkdir -p "$bin"

build() { # OUT DIR PACKAGE: built aside and renamed, so that an interrupted or parallel run leaves no half binary
  [ -x "$1" ] && return
  go build -C "hack/tools/$2" -o "$1.$$" "$3"
  mv "$1.$$" "$1"
}

gen=$bin/controller-gen-v0.23.0
build "$gen" controller-gen sigs.k8s.io/controller-tools/cmd/controller-gen
protogen=$bin/protogen-v0.14.1-1 # of protocompile, and ours
build "$protogen" protogen .
# The plugins are found by their names, so each version has a folder.
plugins=$bin/proto-v1.36.12-v1.6.2
mkdir -p "$plugins"
build "$plugins/protoc-gen-go" protogen google.golang.org/protobuf/cmd/protoc-gen-go
build "$plugins/protoc-gen-go-grpc" protogen google.golang.org/grpc/cmd/protoc-gen-go-grpc

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# allowDangerousTypes: percentages are JSON numbers with fractions, as in Istio's API.
for types in ./api/v1alpha1 ./api/cilium/v2; do
  "$gen" object paths=$types crd:allowDangerousTypes=true output:crd:dir="$out" paths=$types
done
go run ./hack/crdgen "$out" crds

for proto in $(cd api && find . -name '*.proto' -printf '%P\n' | sort); do
  "$protogen" api "$proto" "$plugins/protoc-gen-go" "$plugins/protoc-gen-go-grpc"
done

# Programs for the kernel, from C. What is compiled is committed, so only who changes them needs a clang (hack/tools/install.sh clang);
# a test notices sources that are not what was compiled.
bpf2go=$bin/bpf2go-v0.22.0
build "$bpf2go" ../.. github.com/cilium/ebpf/cmd/bpf2go
if command -v "clang-$CLANG" >/dev/null; then
  (cd bpf && GOPACKAGE=bpf "$bpf2go" -cc "clang-$CLANG" -strip "llvm-strip-$CLANG" -target bpfel -type event -type question \
    -cflags "-O2 -g -mcpu=v3 -Wall -Werror -Wno-unused-function" Datapath datapath.c >/dev/null &&
    sha256sum -- *.c *.h >sources.sha256)
else
  echo "without clang-$CLANG the programs of bpf/ stay as they are; hack/tools/install.sh clang installs it" >&2
fi
