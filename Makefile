# Every target creates what it needs first, on a fresh Debian machine (as root) or a laptop with Docker.

PYTHON ?= python3
CLUSTER ?= kanary-e2e
DEMO_CLUSTER ?= kanary-demo
# More options for pytest, as in: make e2e PYTEST_ARGS="-k weights -x"
PYTEST_ARGS ?=
# Options for the benchmarks, as in: make bench BENCH_ARGS=--quick, or BENCH_ARGS="--only load split"
BENCH_ARGS ?=

BIN := .venv/bin
SCRIPTS := tests/e2e/cluster
KUBECONFIG_OF_CLUSTER := $(CURDIR)/.pytest-kind/$(CLUSTER)/kubeconfig
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help venv lint test test-fast docker node-image images cluster cluster-down conformance e2e \
  modern bench promises manifests docs constraints demo demo-down clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

venv: .venv/made ## Make .venv with Kanary and the tools of its tests
.venv/made: pyproject.toml constraints.txt scripts/venv
	@scripts/venv
	@touch $@

lint: venv ## Check style, format and types, and look for known vulnerabilities of dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(BIN)/pip check
	@$(BIN)/python -m scripts.audit

test: ## Run everything from scratch: lint, fast tests, a kind cluster, the tests on it
	@MAKE="$(MAKE)" scripts/stages venv lint test-fast newer-haproxy docker node-image images cluster conformance e2e cluster-down

test-fast: venv ## Run the tests that need no cluster
	$(BIN)/pytest -m "not cluster" -n auto --dist worksteal $(PYTEST_ARGS)

newer-haproxy: venv ## Run the tests of HAProxy and the agent on the newest long-term HAProxy of Debian (Debian, root)
	@if [ "$$(id -u)" = 0 ] && grep -qx 'ID=debian' /etc/os-release; then \
	  KANARY_HAPROXY_SUITE=sid $(BIN)/pytest tests/haproxy tests/agent -n auto --dist worksteal $(PYTEST_ARGS); \
	else echo "skipped: only root on Debian can unpack Debian sid"; fi

docker: ## Check that a Docker engine answers (on Debian, as root: install and start one)
	@$(SCRIPTS)/docker-engine

node-image: docker ## Provide a kind node image: pulled, otherwise built (6 minutes, once)
	@$(SCRIPTS)/node-image

images: venv docker ## Build the images of the operator, its proxies and the example server
	@$(SCRIPTS)/images

cluster: venv node-image images ## Make the kind cluster that the tests run on, and load the images
	@$(BIN)/python -m tests.e2e.kind up $(CLUSTER)

cluster-down: venv ## Remove that cluster
	@$(BIN)/python -m tests.e2e.kind down $(CLUSTER)

conformance: cluster ## Compare the tests' API server with the cluster's
	KANARY_CONFORMANCE_KUBECONFIG=$(KUBECONFIG_OF_CLUSTER) $(BIN)/pytest tests/conformance $(PYTEST_ARGS)

e2e: cluster ## Run the end-to-end tests; the cluster stays for the next run
	$(BIN)/pytest -m cluster tests/e2e --cluster-name $(CLUSTER) --keep-cluster $(PYTEST_ARGS)

modern: venv ## Check the CRD on an API server of a current release, which is compiled first (4 minutes, once)
	@$(SCRIPTS)/modern-apiserver
	$(BIN)/pytest tests/modern $(PYTEST_ARGS)

bench: venv cluster ## Measure the data plane and many Kanaries, and write docs/performance.md and docs/verdicts.md (Debian, root; 2 hours)
	@$(BIN)/python -m bench $(BENCH_ARGS)
	@$(BIN)/python -m bench.reconcile
	@$(BIN)/python -m bench.record
	@$(BIN)/python -m bench.verdicts
	@$(BIN)/python -m bench.scale --kanaries 1000 3000 --write
	@$(BIN)/python -m bench.change $(CLUSTER)

promises: venv ## Run the tests of the promises with their full numbers, and write docs/promises.md (Debian, root; 30 minutes)
	@$(SCRIPTS)/modern-apiserver
	KANARY_PROMISES=full $(BIN)/pytest tests/promises -n auto --dist worksteal $(PYTEST_ARGS)
	@$(BIN)/python -m scripts.promises

manifests: venv ## Write the generated parts of manifests/ and docs/
	$(BIN)/python -m kanary.diagram
	$(BIN)/python -m kanary.settings_page
	$(BIN)/python -m kanary.metrics_page
	$(BIN)/python -m kanary.reasons_page
	$(BIN)/python -m scripts.history_api
	$(BIN)/python -m scripts.monitoring
	$(BIN)/python -m scripts.manifests
	$(BIN)/python -m scripts.reference

docs: venv ## Build the site of docs/ into build/site, and check its links
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open build/site/index.html, or run: $(BIN)/mkdocs serve"

constraints: ## Pin the newest versions that pyproject.toml allows
	@scripts/constraints

demo: venv ## Show a Kanary at work on a kind cluster that stays
	@$(BIN)/python -m scripts.demo $(DEMO_CLUSTER)

demo-down: venv ## Remove the demo's cluster
	@$(BIN)/python -m tests.e2e.kind down $(DEMO_CLUSTER)

clean: ## Remove the clusters, the virtual environment and all build results
	@if [ -x $(BIN)/python ] && docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory cluster-down demo-down; fi
	rm -rf build *.egg-info .venv .pytest-kind .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@echo "Not removed: Docker's images, and $${XDG_CACHE_HOME:-$$HOME/.cache}/kanary-e2e"
