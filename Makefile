# You need Go and, for the race detector, a C compiler. tools/go.mod pins the other tools,
# which are built when they are first used. docs/EVIDENCE.md shows what bench, verify, mutate
# and fuzz find.

GO       ?= go
OLDEST   ?= go1.25.5
# A number of inputs: before Go 1.27, a time can end with a failure that is none,
# "context deadline exceeded" (go.dev/issue/75804).
FUZZTIME ?= 300000x
MUTATED  ?= due.go policy.go simulate.go word.go lock.go run.go close.go throttle.go group.go shard.go table.go turn.go heap.go outcome.go coalescer.go batch.go deliver.go room.go keyed.go internal/backoff/backoff.go
MUTANT   ?= -count=1 -short -failfast -skip=Readme|^Example
EXAMPLE  ?= -duration 2s
BENCH    ?= -json bench.json
EFFORT   ?= 10
CHECKS   ?= linearizability interleaving litmus

MODULE    := github.com/throttle-go/throttle
TOOL      := $(GO) tool -modfile=$(CURDIR)/tools/go.mod
MODULES   := $(sort $(patsubst %/go.mod,%,$(shell find . -name go.mod ! -path './tools/*')))
SLOW      := ./adapters/fleetredis ./adapters/fleetpg
OTHERS    := $(filter-out . $(SLOW) ./verify,$(MODULES))
# The long forms: a folder and arguments of go test.
LONG      := '. -race -run _race$$ .' '. -race ./fleet ./internal/testkit/...' \
	'. -skip _race$$ . ./fleet/enginetest ./fleet/internal/...'
PORTS     := darwin/arm64 wasip1/wasm
# Kubernetes' clients take minutes to build, and to check for locks.
LARGE     := ./adapters/throttlequeue ./examples/controller ./examples/leader
# Servers of tests keep their data in memory where there is room: a busy disk can make one wait for
# longer than a test waits for it.
MEMORY    := $(shell df -Pk /dev/shm 2>/dev/null | awk '$$6 == "/dev/shm" && $$4 > 2 * 1024 * 1024 { print $$6 }')

# Neither a go.work in a folder above nor the owner of the checkout may change what is built.
# With -trimpath, release-check in its scratch clone shares what was built here. Without -vet=off,
# go test would vet all that LARGE imports, for minutes. lint vets everything, more thoroughly.
export GOWORK  := off
export GOFLAGS := $(GOFLAGS) -buildvcs=false -trimpath -vet=off

# Linters and release-check use what the tests build, so that LARGE is built once.
RACE := CGO_ENABLED=1 GOFLAGS='$(GOFLAGS) -race'

# $(call in,modules,command) runs the command in each module, until one fails.
in = for module in $(1); do (cd $$module && $(2)) || exit 1; done

.NOTPARALLEL:
.PHONY: help test test-all compiler servers lint fuzz verify bench bench-fleet bench-plot playground docs cover cross compat examples mutate api release release-check ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s  %s\n", $$1, $$2 }' Makefile

test: compiler ## tests of the root module, short and shuffled, under the race detector
	@# CI makes tests fail that need a server: those belong to test-all.
	@CI= CGO_ENABLED=1 tools/progress.sh $(GO) test -race -short -shuffle=on ./...

test-all: servers test ## that, the long forms, the other modules, and a short verify
	@# Three at a time: those with servers wait more than they work. They take the longest, so they
	@# come first. Long forms in one goroutine at a time go without the race detector: test has
	@# shown it the same code, and without it they take a fifth of the time.
	@echo 'test-all: the long forms and the other modules'
	@printf '%s\n' $(SLOW:%='% -race ./...') $(LONG) $(OTHERS:%='% -race ./...') | \
		TESTKIT_SERVERS=$(MEMORY) CGO_ENABLED=1 tools/progress.sh xargs -P 3 -L 1 sh -c \
		'cd "$$1" && shift && exec $(GO) test -shuffle=on -timeout 20m "$$@"' test
	@# Under the race detector the checks of verify would see fewer interleavings in more time.
	@echo 'test-all: verify'
	@cd verify && ../tools/progress.sh $(GO) test -shuffle=on ./...

compiler:
	@cc=$$($(GO) env CC); command -v $${cc%% *} >/dev/null || \
		{ echo "test: the race detector needs a C compiler, but there is no $$cc: install it, or set CC to another"; exit 1; }

servers:
	@tools/installed.sh redis-server 'adapters/fleetredis, bench and examples/fleet' redis-server
	@tools/installed.sh PostgreSQL 'adapters/fleetpg, bench, examples/batch and examples/fleet' initdb /usr/lib/postgresql/*/bin/initdb
	@tools/installed.sh Chromium verify/browser chromium chromium-browser google-chrome google-chrome-stable chrome

lint: compiler ## format, fix, golangci-lint with vet, lock use, tidy modules, vulnerabilities
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted by gofmt: $$files"; exit 1; }
	@# From empty caches, golangci-lint takes minutes to build, too: meanwhile.
	@$(TOOL) -n golangci-lint >/dev/null 2>&1 &
	$(call in,$(MODULES),$(RACE) $(GO) fix -diff ./...)
	$(call in,$(MODULES),$(RACE) "$$($(TOOL) -n golangci-lint)" run ./...)
	@# Where it prints "-" it means a closing brace: the function leaves a lock held, or it is a
	@# closure that is called under a lock, which the checker cannot follow.
	$(call in,$(filter-out $(LARGE),$(MODULES)),$(RACE) $(GO) vet -vettool="$$($(TOOL) -n checklocks)" -inferred=false ./...)
	$(call in,$(MODULES) tools,$(GO) mod tidy -diff)
	@# If the database of vulnerabilities is out of reach, the step is skipped.
	@for module in $(MODULES); do \
		echo "govulncheck $$module"; \
		report=$$(cd $$module && $(TOOL) govulncheck ./... 2>&1) && continue; \
		echo "$$report"; \
		case $$report in *'fetching vulnerabilities'*) echo 'govulncheck: skipped'; break;; esac; \
		exit 1; \
	done

fuzz: ## every fuzz target of the root package, with FUZZTIME inputs
	@targets=$$($(GO) test -list '^Fuzz' .) || { echo "$$targets"; exit 1; }; \
	for target in $$(echo "$$targets" | grep '^Fuzz'); do \
		echo "$(GO) test -fuzz $$target -fuzztime $(FUZZTIME) ."; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) . || exit 1; \
	done

verify: ## CHECKS and the search over fleets, EFFORT times as thorough as test-all
	cd verify && $(GO) test -count=1 -p 1 -timeout 1h -v $(CHECKS:%=./%) -effort $(EFFORT)
	$(GO) test -count=1 -timeout 1h -v ./fleet/internal/explore -effort $(EFFORT)

bench: ## figures of this library beside its peers, as one table
	cd bench && $(GO) run . $(BENCH)

bench-fleet: ## cost of a throttle that a fleet shares, on servers that it starts itself
	cd bench && $(GO) run ./fleet

bench-plot: bench/bench.json ## draw docs/bench.svg from what bench last measured
	cd bench && $(GO) run . -from bench.json -plot ../docs/bench.svg

bench/bench.json:
	$(MAKE) bench

playground: ## build and serve the page in which you play with a policy
	$(GO) run ./docs/playground

docs: ## draw the pictures of docs/POLICIES.md, which test compares
	$(GO) test -count=1 -run '^TestPictures' ./docs -update

cover: ## coverage of the root package, and its uncovered lines
	$(GO) test -short -coverprofile=coverage.out .
	@# A line of the profile is path/file:line.column,line.column statements runs.
	@sed -n 's|.*/\(.*\):\([0-9]*\)\.[0-9]*,\([0-9]*\)\.[0-9]* [0-9]* 0$$|\1 \2 \3|p' coverage.out | \
	sort -k 1,1 -k 2,2n | \
	awk '$$1 == file && $$2 <= to + 1 { if ($$3 > to) to = $$3; next } \
		file { print file ":" from "-" to } \
		{ file = $$1; from = $$2; to = $$3 } \
		END { if (file) print file ":" from "-" to }'

cross: ## tests on 386 if the system runs its programs, builds for the other ports
	@# Running no test shows whether the system can. If it cannot, the tests are built all the same.
	@export CI= CGO_ENABLED=0 GOARCH=386; \
	if $(GO) test -run '^$$' ./internal/backoff >/dev/null 2>&1; then \
		echo '$(GO) test -short ./... for 386'; tools/progress.sh $(GO) test -short ./...; \
	else \
		echo 'cross: this system does not run programs for 386: their tests are only built'; \
		tools/progress.sh $(GO) test -run '^$$' -exec true ./...; \
	fi
	@# What else the root module has is as portable as Go's own net/http, which takes most of the
	@# time to build. The examples use files, whose rules differ on Windows.
	@for port in $(PORTS); do \
		echo "$(GO) build for $$port"; \
		GOOS=$${port%/*} GOARCH=$${port#*/} $(GO) build . ./fleet || exit 1; \
	done
	GOOS=windows GOARCH=amd64 $(GO) build ./...

compat: ## build and test the root module with the OLDEST Go that is supported
	CI= GOTOOLCHAIN=$(OLDEST) tools/progress.sh $(GO) test -short ./...

examples: ## run the snapshot; the tests build the others
	$(RACE) $(GO) run ./examples/snapshot $(EXAMPLE)

# gremlins breaks the files of one folder, without the files in folders below and others not in
# MUTATED. A mutant's tests may take twice as long as the coverage of the folder and those below
# it, or many times as long for a small folder, where it is mostly the build. Examples do not run:
# go test goes on with them after a test has failed, and many wait for a run that never comes.
gremlins = $(TOOL) gremlins unleash --config $(CURDIR)/.gremlins.yaml --output-statuses lct \
	--timeout-coefficient $(if $(filter ./,$(1)),2,30) \
	$(foreach file,$(filter-out $(MUTATED) $(addprefix ./,$(MUTATED)) %_test.go,$(wildcard $(1)*.go)),--exclude-files '^$(notdir $(file))$$') \
	--exclude-files / "$$copy/$(1)"

mutate: ## break MUTATED in every way that gremlins knows, and count what the tests notice
	@# On a copy in which coverage sees the conditions of cases. A cached coverage run would make
	@# gremlins believe that the tests take no time.
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && \
	git ls-files -z | tar --null -T - -cf - | tar -x -C "$$copy" && \
	(cd verify && $(GO) run ./casecover $(MUTATED:%="$$copy"/%)) && \
	cd "$$copy" && export GOFLAGS='$(GOFLAGS) $(MUTANT)' && \
	$(foreach folder,$(sort $(dir $(MUTATED))),$(call gremlins,$(folder)) &&) true

api: ## incompatible changes of the API since the last tag
	@tag=$$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null) || { echo 'api: no tag to compare with'; exit 0; }; \
	old=$$(mktemp -d) && trap 'rm -rf "$$old"' EXIT && \
	git archive "$$tag" | tar -x -C "$$old" && rm -rf "$$old/examples" && \
	(cd "$$old" && $(TOOL) apidiff -m -w "$$old/api" $(MODULE)) && \
	changes=$$($(TOOL) apidiff -m -incompatible "$$old/api" $(MODULE)) || exit 1; \
	test -z "$$changes" || { echo "incompatible with $$tag:"; echo "$$changes"; exit 1; }; \
	echo "api: compatible with $$tag"

release: ## commit and tag VERSION=vX.Y.Z of every published module; nothing is pushed
	@tools/release.sh '$(VERSION)'

release-check: compiler ## rehearse a release in a scratch clone, and use each module from outside
	@$(RACE) tools/release-check.sh

ci: FUZZTIME = 10000x
ci: lint cross examples api fuzz release-check compat test test-all ## everything that has to pass before a merge
