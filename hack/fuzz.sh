#!/usr/bin/env bash
# Fuzzes each target of the module for FUZZTIME (10s), one after the other, and fails at the end when one found something.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=0 found=0
while read -r file; do
  for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
    found=$((found + 1))
    echo "=== $target in ${file%/*}"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 10x -parallel 2 "./${file%/*}" || failed=1
  done
done < <(git ls-files '*_test.go' | sort)
echo "$found fuzz targets"
exit "$failed"
