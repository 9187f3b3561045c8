#!/usr/bin/env bash
# lint.sh [PACKAGES...]: runs the pinned golangci-lint. Install it first: hack/tools/install.sh golangci-lint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=hack/tools/versions.sh
. hack/tools/versions.sh
[ $# -gt 0 ] || set -- ./...
exec "${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}/bin/golangci-lint-$GOLANGCI_LINT" run --concurrency 2 "$@"
