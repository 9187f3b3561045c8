#!/usr/bin/env bash
# bench.sh [-benchtime TIME] [PACKAGE...]: runs the Go benchmarks of the packages that have some (or of those given), then
# compares with what the project promises. hack/bench measures whole servers.
# Exceeding a promise is printed, not a failure: machines differ. A benchmark that breaks fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(mktemp)
trap 'rm -f "$out"' EXIT
benchtime=1s
if [ "${1-}" = -benchtime ]; then
  benchtime=${2:?-benchtime needs a time such as 100ms}
  shift 2
fi
if [ $# = 0 ]; then
  mapfile -t files < <(git grep -l '^func Benchmark' -- '*_test.go')
  [ ${#files[@]} -gt 0 ] || { echo "no benchmarks"; exit 1; }
  mapfile -t packages < <(printf './%s\n' "${files[@]%/*}" | sort -u)
  set -- "${packages[@]}"
fi
go test -p 1 -run '^$' -bench . -benchmem -benchtime "$benchtime" "$@" | tee "$out"

# What is promised at 5,000 services of 10 endpoints: the benchmark's name up to its first "/" or "-", the unit that
# go test prints, the most it may be (in that unit), and what it is.
awk '
  function row(name, unit, limit, what) { n++; names[n] = name; units[n] = unit; limits[n] = limit; whats[n] = what }
  BEGIN {
    row("BenchmarkEndpointSlice", "ns/op", 1e6, "one EndpointSlice change, to encoded bytes")
    row("BenchmarkVirtualService", "ns/op", 2e6, "one VirtualService change, to encoded bytes")
    row("BenchmarkTableMemory", "MB", 400, "memory of all tables")
    row("BenchmarkKnownFlow", "ns/packet", 50, "a packet of a known flow, in the kernel")
    row("BenchmarkSYN", "ns/packet", 250, "a SYN, judged by 50,000 rules, in the kernel")
  }
  /^pkg:/ { pkg = $2 }
  # pkg/table measures the engine alone, with stand-ins for the stages: its numbers are no proof of the whole way.
  /^Benchmark/ && pkg !~ /\/pkg\/table$/ {
    name = $1
    sub(/[-\/].*/, "", name)
    for (i = 3; i < NF; i += 2) if (!((name, $(i + 1)) in got) || $i > got[name, $(i + 1)]) got[name, $(i + 1)] = $i
  }
  END {
    printf "\n%-46s %14s %14s  %s\n", "promise", "measured", "at most", "verdict"
    for (i = 1; i <= n; i++) {
      key = names[i] SUBSEP units[i]
      verdict = !(key in got) ? "not measured: no " names[i] : got[key] + 0 <= limits[i] ? "kept" : "EXCEEDED"
      printf "%-46s %14s %14s  %s\n", whats[i], (key in got) ? got[key] " " units[i] : "-", limits[i] " " units[i], verdict
    }
  }' "$out"
