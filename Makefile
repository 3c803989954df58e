# Every command of the project. `make run` and `make test` are all a newcomer needs.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
LINT := $(GO) tool -modfile=tools/go.mod golangci-lint
# Each suite prints its name and how long it took.
timed = @start=$$SECONDS; echo "== $(1)"; $(2); echo "== $(1): $$((SECONDS - start)) s"

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: build
build: web ## build sottod, with the web client in it, and sotto into bin/
	$(GO) build -trimpath -o bin/ ./cmd/...

.PHONY: wasm
wasm: ## build the browser core into bin/wasm
	GO=$(GO) script/wasm bin/wasm

# What the web client is made of. Nothing is done when nothing of it has changed.
web_sources := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print)

.PHONY: web
web: wasm web/dist/index.html.br ## build the web client into web/dist, from where sottod embeds it

web/dist/index.html.br: bin/wasm/sotto.wasm $(web_sources)
	@script/tools web
	cd web && npm run --silent check && npm run --silent build

.PHONY: screenshots
screenshots: build ## pictures of every screen of the web client, in test/screenshots
	@script/tools test/browser
	cd test/browser && node screenshots.mjs

.PHONY: run
run: build ## build and start a server for yourself, with its data in ./data
	./bin/sottod serve --data-dir=data

.PHONY: run-split
run-split: tools build ## the separate services over a private PostgreSQL, RabbitMQ and Redis, for development
	$(GO) run ./test/split

.PHONY: test
test: tools ## everything: build, lint, unit tests, interoperation, end to end (installs what it needs)
	@start=$$SECONDS; \
	$(MAKE) --no-print-directory test-unit test-interop test-socketio test-e2e test-chaos test-devices test-browser test-notification test-security; \
	echo "== make test: $$((SECONDS - start)) s"

.PHONY: tools
tools: ## install what the tests need (node packages of the test partners)
	@script/tools

.PHONY: lint
lint: ## vet, format and the fixed linter settings
	$(call timed,lint,$(GO) vet ./... && $(LINT) run ./...)

.PHONY: test-unit
test-unit: build lint ## unit tests and the seeds of every fuzz target
	$(call timed,unit,$(GO) test $$($(GO) list ./... | grep -v '^sotto/test/'))

.PHONY: test-interop
test-interop: ## the protocol core against the official library
	$(call timed,interop,$(GO) test -count=1 ./test/interop/...)

.PHONY: test-socketio
test-socketio: ## the real-time layer against the official client and server
	$(call timed,socketio,$(GO) test -count=1 ./test/socketio/...)

.PHONY: test-e2e
test-e2e: build ## the real programs end to end
	$(call timed,e2e,$(GO) test -count=1 ./test/e2e/... ./test/contract/... ./test/upgrade/...)

.PHONY: test-chaos
test-chaos: ## every part of the server killed under load, decided by the history checker
	$(call timed,chaos,$(GO) test -count=1 -v -run "TestKill|TestRolling" ./test/chaos | grep -vE '^ +process.go')

.PHONY: test-devices
test-devices: build ## several devices and a history that survives: random schedules, decided by the history checker
	@mkdir -p test/artifacts # journals and story of a schedule that fails
	$(call timed,devices,$(GO) test -count=1 -artifacts -outputdir=test/artifacts ./test/history/... ./test/devices/...)

.PHONY: test-browser
test-browser: build ## the browser core and the web client in a real Chromium
	$(call timed,browser,(cd web && npm run --silent test) && $(GO) test -count=1 ./test/wasm/... ./test/browser/...)

.PHONY: test-notification
test-notification: build ## notifications with a real mail server and a push service, the server killed in between
	$(call timed,notification,$(GO) test -count=1 ./test/notification/...)

.PHONY: test-security
test-security: build ## what an attacker would try
	$(call timed,security,$(GO) test -count=1 ./test/security/...)

.PHONY: race
race: ## every Go test under the race detector, but those whose work is all done by programs and browsers beside them
	@script/parts race $$($(GO) list ./... | grep -vE '^sotto/test/(load|browser|wasm|interop|socketio)')

.PHONY: soak
soak: ## the long runs; RESUME=1 goes on where the last one stopped
	@script/parts soak

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME; RESUME=1 goes on where the last one stopped
	@FUZZTIME=$(FUZZTIME) script/parts fuzz

.PHONY: bench
bench: ## benchmarks; ROW=socket for one of them
	@ROW=$(ROW) script/parts bench

.PHONY: upgrade-data
upgrade-data: ## before a build is tagged: leave its data in test/upgrade for later builds to open
	$(GO) run ./test/upgrade/make

.PHONY: clean
clean: ## remove what was built
	rm -rf bin test/artifacts test/screenshots
	find web/dist -mindepth 1 ! -name placeholder.txt -delete
