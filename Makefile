# Needs Go and, for the race detector, a C compiler. Tools are pinned in
# tools/go.mod, and built when first used.
#
# The evidence in docs/EVIDENCE.md comes from bench, verify, mutate and fuzz.

GO       ?= go
FUZZTIME ?= 1m
MUTATED  ?= due.go policy.go word.go lock.go run.go close.go throttle.go group.go shard.go turn.go heap.go coalescer.go
MUTANT   := -count=1 -short -failfast -vet=off -skip=TestReadmeCompiles
EXAMPLE  ?= -duration 2s
BENCH    ?= -json bench.json
EFFORT   ?= 10
CHECKS   ?= linearizability interleaving litmus

MODULE  := github.com/throttle-go/throttle
TOOL    := $(GO) tool -modfile=$(CURDIR)/tools/go.mod
MODULES := $(sort $(patsubst %/go.mod,%,$(shell find . -name go.mod ! -path './tools/*')))
PORTS   := linux/arm64 windows/amd64 darwin/arm64 js/wasm wasip1/wasm

# A go.work further up must not change what is built, nor must git's opinion of
# who owns the checkout.
export GOWORK  := off
export GOFLAGS := $(GOFLAGS) -buildvcs=false

# $(call in,modules,command) runs the command in each module, until one fails.
in = for module in $(1); do (cd $$module && $(2)) || exit 1; done

.NOTPARALLEL:
.PHONY: help test lint fuzz verify bench bench-fleet bench-plot docs cover cross examples mutate api ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' Makefile

test: ## tests of every module, shuffled, under the race detector
	@# Two modules at a time: those with servers wait more than they work.
	@printf '%s\n' $(MODULES) | xargs -P 2 -I MODULE sh -c 'cd MODULE && $(GO) test -race -shuffle=on ./...'

lint: ## format, vet, fix, staticcheck, golangci-lint, lock use, tidy modules, vulnerabilities
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted by gofmt: $$files"; exit 1; }
	$(call in,$(MODULES),$(GO) vet ./...)
	$(call in,$(MODULES),$(GO) fix -diff ./...)
	$(call in,$(MODULES),$(TOOL) staticcheck ./...)
	$(call in,$(MODULES),$(TOOL) golangci-lint run ./...)
	@# Its "-" stands for a closing brace: of a function that leaves a lock held,
	@# or of a closure that is called while one is held, which it cannot follow.
	$(call in,$(MODULES),$(GO) vet -vettool="$$($(TOOL) -n checklocks)" -inferred=false ./...)
	$(call in,$(MODULES) tools,$(GO) mod tidy -diff)
	@# The database of vulnerabilities may be out of reach; that alone is no failure.
	@for module in $(MODULES); do \
		echo "govulncheck $$module"; \
		report=$$(cd $$module && $(TOOL) govulncheck ./... 2>&1) && continue; \
		echo "$$report"; \
		case $$report in *'fetching vulnerabilities'*) echo 'govulncheck: skipped'; break;; esac; \
		exit 1; \
	done

fuzz: ## every fuzz target of the root package, FUZZTIME each
	@targets=$$($(GO) test -list '^Fuzz' .) || { echo "$$targets"; exit 1; }; \
	for target in $$(echo "$$targets" | grep '^Fuzz'); do \
		echo "$(GO) test -fuzz $$target -fuzztime $(FUZZTIME) ."; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) . || exit 1; \
	done

verify: ## CHECKS, EFFORT times as thorough as in test; 30 for a minute of litmus
	cd verify && $(GO) test -count=1 -p 1 -timeout 1h -v $(CHECKS:%=./%) -effort $(EFFORT)
	$(GO) test -count=1 -timeout 1h -v ./fleet/internal/explore -effort $(EFFORT)

bench: ## one table, this library beside its peers
	cd bench && $(GO) run . $(BENCH)

bench-fleet: ## what a throttle takes that a fleet shares, on Redis and PostgreSQL of its own
	cd bench && $(GO) run ./fleet

bench-plot: bench/bench.json ## docs/bench.svg, of what bench has measured last
	cd bench && $(GO) run . -from bench.json -plot ../docs/bench.svg

bench/bench.json:
	$(MAKE) bench

docs: ## draw the pictures of docs/POLICIES.md; test compares them
	$(GO) test -count=1 -run '^TestPictures$$' ./docs -update

cover: ## coverage of the root package, and its uncovered lines
	$(GO) test -coverprofile=coverage.out .
	@# A line of the profile is path/file:line.column,line.column statements runs.
	@sed -n 's|.*/\(.*\):\([0-9]*\)\.[0-9]*,\([0-9]*\)\.[0-9]* [0-9]* 0$$|\1 \2 \3|p' coverage.out | \
	sort -k 1,1 -k 2,2n | \
	awk '$$1 == file && $$2 <= to + 1 { if ($$3 > to) to = $$3; next } \
		file { print file ":" from "-" to } \
		{ file = $$1; from = $$2; to = $$3 } \
		END { if (file) print file ":" from "-" to }'

cross: ## tests on 386 (runs on amd64 only), builds for the other ports
	CGO_ENABLED=0 GOARCH=386 $(GO) test -shuffle=on ./...
	@for port in $(PORTS); do \
		echo "$(GO) build for $$port"; \
		export GOOS=$${port%/*} GOARCH=$${port#*/}; \
		$(GO) build ./... || exit 1; \
	done

examples: ## build every example, run the snapshot
	$(call in,. $(filter ./examples/%,$(MODULES)),$(GO) build -o /dev/null ./...)
	$(GO) run ./examples/snapshot $(EXAMPLE)

mutate: ## share of MUTATED's mutants that the tests kill, and those that live unexplained
	@# A cached coverage run would make gremlins believe that tests take no time. The
	@# first of the patterns is for all in subdirectories.
	GOFLAGS='$(GOFLAGS) $(MUTANT)' $(TOOL) gremlins unleash --invert-logical --invert-loopctrl \
		--timeout-coefficient 3 --output-statuses lct --output mutants.json --exclude-files / \
		$(patsubst %,--exclude-files '^%$$',$(filter-out $(MUTATED) %_test.go,$(wildcard *.go)))
	@# Not covered is what it calls conditions of cases, and timed out what may just be slow.
	cd verify && GOFLAGS='$(GOFLAGS) $(MUTANT)' $(GO) run ./mutants ../mutants.json

api: ## incompatible changes of the API since the last tag
	@tag=$$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null) || { echo 'api: no tag to compare with'; exit 0; }; \
	old=$$(mktemp -d) && trap 'rm -rf "$$old"' EXIT && \
	git archive "$$tag" | tar -x -C "$$old" && rm -rf "$$old/examples" && \
	(cd "$$old" && $(TOOL) apidiff -m -w "$$old/api" $(MODULE)) && \
	changes=$$($(TOOL) apidiff -m -incompatible "$$old/api" $(MODULE)) || exit 1; \
	test -z "$$changes" || { echo "incompatible with $$tag:"; echo "$$changes"; exit 1; }; \
	echo "api: compatible with $$tag"

ci: FUZZTIME = 10s
ci: lint cross examples cover api fuzz test ## what has to pass before a merge
