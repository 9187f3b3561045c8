# Fairlead. `make help` lists the targets; what they need beyond Go is installed by `make tools`.
SHELL := bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help build test lint generate demo cluster cluster-down cluster-test netpol bench bench-quick soak fuzz-short tools clean ci

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## static binaries in ./bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

test: tools ## all tests, race detector, real kube-apiserver and Envoy; prints a time budget
	hack/test.sh

lint: ## golangci-lint with the project's rules, import direction included
	hack/tools/install.sh golangci-lint
	hack/lint.sh

generate: ## rewrite what is generated from api/
	hack/generate.sh

demo: ## real requests through a real Envoy; KEEP=1 leaves it running
	hack/tools/install.sh envoy
	go run ./cmd/fairlead demo $(if $(KEEP),--keep)

cluster: ## a real cluster of two nodes for hand work; go run ./hack/cluster --help has more
	hack/tools/install.sh cluster
	go run ./hack/cluster up

cluster-down: ## remove it
	go run ./hack/cluster down

cluster-test: ## tests on real clusters, with Fairlead installed; needs root
	hack/tools/install.sh cluster
	go test -count=1 -p 1 -timeout 20m ./integration/cluster/...

netpol: ## public suites of network policy on real clusters, hours; a part: CNI=bridge PROXY=nftables SUITE=cyclonus CASES=sctp
	hack/tools/install.sh cluster
	hack/tools/install.sh conformance
	go run ./hack/netpol $(if $(CNI),--cni=$(CNI)) $(if $(PROXY),--proxy=$(PROXY)) $(if $(SUITE),--suite=$(SUITE)) $(if $(CASES),--cases='$(CASES)',--report=docs/conformance) $(FLAGS)

bench: ## benchmarks, then beside the real istiod: an hour; SIZE, CLIENTS, RUNS, CHANGES, FLAGS="-profile DIR"
	hack/bench.sh
	go run ./hack/bench -pods -size $(or $(SIZE),5000) -clients $(or $(CLIENTS),200) -runs $(or $(RUNS),3) -changes $(or $(CHANGES),30) $(FLAGS)

bench-quick: ## the same in small, in three minutes
	hack/bench.sh -benchtime 20ms
	go run ./hack/bench -size $(or $(SIZE),300) -clients $(or $(CLIENTS),50) -runs $(or $(RUNS),1) -changes $(or $(CHANGES),5) -herd 100 -load 500ms $(FLAGS)

soak: tools ## ten minutes of changes under 200 clients and an Envoy; make test has 20 seconds of it. SOAK=1h for more
	go test ./integration -run '^TestSoak$$' -count=1 -v -timeout 0 -soak=$(or $(SOAK),10m)

fuzz-short: ## ten seconds of fuzzing for each target; FUZZTIME=1m for more
	hack/fuzz.sh

tools: ## install the pinned tools that are missing, into a cache outside the checkout
	hack/tools/install.sh

clean: ## remove what build made; the tools stay in their cache
	rm -rf bin

ci: ## what CI runs
	.ci/run
