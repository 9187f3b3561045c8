#!/usr/bin/env bash
# Runs every test suite, also after one has failed, and fails when one did. A suite over its budget is a warning only: machines
# differ. Ends with a table of the times and go test's own line for each package.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=hack/budget.sh
. hack/budget.sh
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

suite() { # GO_TEST_ARGUMENTS...: shows all output, and keeps the line of each package
  # -count=1: a cached pass would hide a real Envoy or API server that has stopped working.
  go test -p 2 -count=1 "$@" 2>&1 | tee >(grep -E '^(ok|FAIL|---|panic:|\?)' >>"$lines")
}

unit=()
for d in api cmd pkg hack; do [ ! -d "$d" ] || unit+=("./$d/..."); done
step "unit, golden, oracle, race" 900 suite -race -timeout 20m "${unit[@]}"
# Whole clusters need more tools, and root: make cluster-test.
mapfile -t real < <(go list ./integration/... | grep -v '/integration/cluster')
step "real kube-apiserver, Envoy" 420 suite -timeout 15m "${real[@]}"

budget_table
sleep 0.2 # tee's reader ends on its own; the lines below are only a repetition
grep -vE '^\?' "$lines"
exit "$budget_failed"
