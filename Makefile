# Two commands matter: `make demo` shows the product, `make test` proves it. Both set up what they need by themselves.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
INSTALLED := .venv/project.stamp
ARGS ?=

# Two workers; tests that measure time or take the machine's resources carry xdist_group("serial") and share one.
PYTEST := $(BIN)/pytest -n 2 --dist loadgroup

.PHONY: help
help: ## Print this help (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(INSTALLED) ## Run a function, the extension and a backend on this machine, and show what arrives
	$(BIN)/o2-lambda demo $(ARGS)

.PHONY: test
test: lint rie node clients layer ## Lint, type-check, build the layer and run every test, some on what ships
	$(PYTEST) $(ARGS)
	scripts/test-layer

.PHONY: unit
unit: $(INSTALLED) ## Run only the tests without sockets and processes
	$(BIN)/pytest tests/unit tests/property tests/test_tidy.py $(ARGS)

.PHONY: lint
lint: $(INSTALLED) ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: format
format: $(INSTALLED) ## Repair what can be repaired of style and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: examples
examples: $(INSTALLED) ## Build and run every example, those included that take minutes to compile
	O2_TEST_EXAMPLES=all $(BIN)/pytest tests/examples -rs $(ARGS)

.PHONY: recipes
recipes: $(INSTALLED) ## Check the recipes in deploy/ with the CDK and Serverless too, which are fetched first
	[ -x .cache/recipes/bin/python ] || $(BIN)/python -m venv .cache/recipes
	.cache/recipes/bin/pip install --quiet --disable-pip-version-check -r deploy/cdk/requirements.txt
	cp tests/aws/serverless/package*.json .cache/recipes/
	npm ci --prefix .cache/recipes --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error </dev/null
	$(BIN)/pytest tests/aws/test_recipes.py -rs $(ARGS)

.PHONY: layer
layer: $(INSTALLED) ## Build the layer zips for both architectures into target/
	$(BIN)/o2-lambda build --inspect $(ARGS)

.PHONY: answers
answers: $(INSTALLED) ## Check what CPython's configure is told, by asking it everything; a minute
	O2_TEST_CONFIGURE=all $(BIN)/pytest tests/packaging/test_configured.py -rs $(ARGS)

.PHONY: linked
linked: $(INSTALLED) ## Check which files of the libraries are compiled, by linking all of them; some minutes
	O2_TEST_LINKED=all $(BIN)/pytest tests/packaging/test_linked.py -rs $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## Measure the layer's start-up, memory and throughput (ARGS="--vs FILE": beside another)
	$(BIN)/python bench/extension.py $(ARGS)

.PHONY: soak
soak: $(INSTALLED) ## Load for an hour with memory watched (ARGS="--minutes 5": for less)
	$(BIN)/python bench/soak.py $(ARGS)

.PHONY: starts
starts: $(INSTALLED) ## Start the snapshot 10,000 times
	O2_TEST_STARTS=10000 $(BIN)/pytest tests/packaging/test_snapshot.py -k every_time --timeout 7200 $(ARGS)

.PHONY: kernels
kernels: $(INSTALLED) ## Start the layer's executable under Linux 5.10, 6.1 and 6.12, in a virtual machine
	$(BIN)/python scripts/test_kernels.py

.PHONY: load
load: $(INSTALLED) ## 20,000 lines a second for five minutes, records of 1 MB, and an overload
	$(BIN)/python bench/load.py $(ARGS)

.PHONY: herd
herd: $(INSTALLED) ## A thousand processes and one backend that fails: when they come back
	$(BIN)/python bench/herd.py $(ARGS)

.PHONY: fuzz
fuzz: $(INSTALLED) ## Look for bytes that break a parser (ARGS="telemetry --seconds 600")
	scripts/fuzz $(ARGS)

.PHONY: hostile
hostile: $(INSTALLED) ## Open and drop 100,000 connections beside an invocation
	O2_TEST_FLOOD=100000 $(BIN)/pytest tests/integration/test_hostile.py $(ARGS)

.PHONY: chaos
chaos: $(INSTALLED) ## Play random schedules of faults (ARGS="--seconds 600" or "--seed N")
	$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: reliability
reliability: $(INSTALLED) ## Write docs/reliability.md (ARGS="--vs NAME=PATH": beside another executable)
	$(BIN)/python -m tests.chaos.reliability $(ARGS)

.PHONY: settings
settings: $(INSTALLED) ## Write the table of settings into README.md
	$(BIN)/python scripts/write_settings.py

.PHONY: lock
lock: ## Resolve the dependencies anew (ARGS=--upgrade: to the newest versions)
	scripts/lock $(ARGS)

.PHONY: venv
venv: $(INSTALLED) ## Create .venv with the locked dependencies and this project

.PHONY: node
node: ## Install the Node.js clients of the conformance tests, where there is Node.js
	@scripts/setup-node

.PHONY: clients
clients: $(INSTALLED) ## Install the libraries that the tracer's tests trace, and OpenTelemetry's own instrumentation
	@scripts/setup-clients
	@scripts/setup-pythons
	@scripts/setup-javas

.PHONY: rie
rie: $(INSTALLED) ## Fetch AWS's Runtime Interface Emulator for the conformance tests
	@scripts/setup-rie

.PHONY: clean
clean: ## Remove everything that was installed, built or cached here
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist target
	rm -rf tests/conformance/node/node_modules tests/instrument/node/node_modules
	find src tests bench examples scripts -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/deps.stamp: requirements.lock
	@scripts/setup-venv
	@touch $@

# Offline and reproducible: the build backend comes from the lock too.
$(INSTALLED): .venv/deps.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
