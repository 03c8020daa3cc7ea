# Every target sets up what it needs; on a fresh machine only Python 3.11 or later and make have to be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test install-matrix install-base nvflare-example flower-example flower-long fuzz crash anvil lint check bench clean

help: ## Show the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 24

setup: $(READY) ## Make .venv and install the project into it.

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=…") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps crypten
	touch $@

demo: setup ## Federated training on real data, every round masked, checked and logged.
	$(BIN)/secure-agg demo

test: setup ## All tests.
	-@test -d build/anvil/node_modules || ! command -v npm >/dev/null || $(MAKE) --no-print-directory anvil
	$(BIN)/python -m pytest -n 2 --dist loadfile

install-matrix: ## The base install, every extra alone and the development install, each tried in an empty environment.
	$(PYTHON) tests/installs/matrix.py

install-base: ## The same for the base install only; a minute.
	$(PYTHON) tests/installs/matrix.py base

anvil: ## A local Ethereum node from npm, for the tests that ask one; they are skipped without it.
	npm install --prefix build/anvil --no-audit --no-fund --ignore-scripts --silent @foundry-rs/anvil@1.7.1

nvflare-example: setup ## Stock federated averaging under NVFlare's simulator, made secure by our lines.
	rm -rf build/nvflare && mkdir -p build/nvflare
	$(BIN)/python -c "import numpy; numpy.save('build/nvflare/start.npy', numpy.zeros((65, 10)))"
	$(BIN)/secure-agg federation init build/nvflare/federation --task digits --start-model build/nvflare/start.npy \
		$(foreach site,site-1 site-2 site-3 site-4,--client $(site))
	cd examples/nvflare-quickstart && $(CURDIR)/$(BIN)/python job.py $(CURDIR)/build/nvflare
	$(BIN)/secure-agg ledger audit build/nvflare/federation/server/rounds.db --trust build/nvflare/federation/trust.json

flower-example: setup ## A stock Flower app with a SuperLink and three SuperNodes, made secure by our lines.
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/flower-quickstart/run.sh build/flower

flower-long: setup ## Flower with 25 million parameters and with every backend; some minutes.
	$(BIN)/python -m pytest tests -m flower_long

fuzz: setup ## Thousands of damaged samples before SEAL, GMP, zstd and arkworks; some minutes.
	$(BIN)/python -m pytest -n0 tests/attacks/test_native_boundary.py -m fuzz

crash: setup ## The ledger after kills, failing calls and power cuts; some minutes.
	$(BIN)/python -m pytest tests/ledger/crash -m "crash or not crash"

lint: setup ## Format, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test ## Lint, types and tests.

bench: setup ## Every benchmark suite, a quarter of an hour, and a page: bench-output/report.html.
	$(BIN)/python -m benchmarks all
	$(BIN)/python -m benchmarks report --html bench-output/report.html --markdown bench-output/report.md

clean: ## Remove .venv and what tools left behind.
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
