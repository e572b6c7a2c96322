# Thin: each target is one command. What it does is in crates/xtask.
#
# CLUSTER=local|kind|current   which Kubernetes (default: kind where a Docker engine answers and kind is installed, else local)
# ENGINE=sim|vllm              which engine the demo's pool runs (default: sim)

.DEFAULT_GOAL := help
XTASK := cargo run --package xtask --

.PHONY: help
help: ## Show this help
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@sed -n 's/^# \([A-Z]*=.*\)/  \1/p' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## From nothing to a running system: a pool that answers, grows under load and shrinks again
	$(XTASK) demo

.PHONY: down
down: ## Remove what the demo made
	$(XTASK) down

.PHONY: test
test: ## Every check and test, from lints to scenarios on a real cluster
	$(XTASK) test

.PHONY: lint
lint: ## Formats, clippy, documentation, tidiness
	$(XTASK) test --only lint

.PHONY: unit
unit: ## Tests that need no cluster
	$(XTASK) test --only unit

.PHONY: fuzz
fuzz: ## Random bytes to everything that reads what a stranger wrote, a minute each (FUZZ_SECONDS)
	$(XTASK) test --only fuzz

.PHONY: e2e
e2e: ## Scenarios on a real cluster
	$(XTASK) test --only e2e

.PHONY: fault
fault: ## The operator is killed at every write, and its API server misbehaves: every case
	FAULT=full $(XTASK) test --only fault

.PHONY: generate
generate: ## Write what is made from the sources: CRDs, reference pages
	$(XTASK) generate

.PHONY: images
images: ## Build the images as archives, without a Docker engine
	$(XTASK) images

.PHONY: bench
bench: ## CPU per request beside nginx, in one run; with rules and providers; slow clients; three times as much as it can serve
	bash benches/router-vs-nginx.sh
	bash benches/routes.sh
	bash benches/slow-clients.sh
	bash benches/overload.sh

.PHONY: bench-operator
bench-operator: ## Time, memory and writes of the operator with POOLS pools (200), and REST seconds of rest (60)
	bash benches/operator-at-scale.sh
