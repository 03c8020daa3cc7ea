# Every target sets up what it needs; on a fresh machine only Python 3.11 or later and make have to be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Folders whose tests stay in their process, but for those that are marked slow: all packages below backends and ledger,
# and what one process does with both.
FAST := tests/house tests/mpc tests/zk tests/protocol tests/groups tests/tlog tests/roles tests/local tests/fl tests/planning

.DEFAULT_GOAL := help
.PHONY: help setup demo picture lint lock check test test-fast test-long crash fuzz flower-long anvil container-lint \
	install-base install-matrix release vectors regions-example nvflare-example flower-example service-example \
	auditor-example notebook-example examples large-models bench clean explorer explorer-modules explorer-pictures docs

help: ## Show this.
	@echo 'make TARGET; each sets up .venv first where it needs one. PYTHON=… names another Python.'
	@awk '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { target = $$0; sub(/:.*/, "", target); sub(/^.*## /, ""); printf "  %-16s %s\n", target, $$0 }' \
		$(MAKEFILE_LIST)

##@ Begin
setup: $(READY) ## Make .venv and install the project into it.

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=…") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps crypten
	touch $@

demo: setup ## Federated training on real data, every round masked, checked and logged.
	$(BIN)/secure-agg demo

clean: ## Remove .venv and what tools left behind.
	rm -rf $(VENV) build explorer/node_modules *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

##@ While working
lint: setup ## Format, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: setup ## The site of the documents in build/site; a broken link, or a page that is in no menu, is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

lock: setup ## Write down in constraints.txt what .venv is made of, all of it, after something was brought up to date.
	$(BIN)/python tests/installs/lock.py

test-fast: setup ## Units that need no other process; under a minute.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not crash and not flower_long and not fuzz and not long" $(FAST)

test: setup ## All tests but the long ones below.
	-@test -d explorer/node_modules || ! command -v npm >/dev/null || $(MAKE) --no-print-directory explorer-modules
	-@test -d build/anvil/node_modules || ! command -v npm >/dev/null || $(MAKE) --no-print-directory anvil
	-@test -d build/lint/node_modules || ! command -v npm >/dev/null || $(MAKE) --no-print-directory container-lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: lint test ## Lint, types and tests.

##@ Long tests
test-long: setup ## What takes long and seldom changes: whole suites of benchmarks, mixes of cheats; some minutes.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long

crash: setup ## The ledger after kills, failing calls and power cuts; some minutes.
	CRASH_SEED="$${CRASH_SEED:-$$($(BIN)/python -c "import secrets; print(secrets.randbits(32))")}" \
	$(BIN)/python -m pytest tests/ledger/crash -m "crash or not crash"

fuzz: setup ## Thousands of damaged samples before SEAL, GMP and zstd; some minutes.
	$(BIN)/python -m pytest -n0 tests/attacks/test_native_boundary.py -m fuzz

flower-long: setup ## Flower with 25 million parameters, every backend and more rounds; some minutes.
	$(BIN)/python -m pytest tests -m flower_long

install-base: ## The base install in an empty environment; a minute.
	$(PYTHON) tests/installs/matrix.py base --python $(PYTHON)

install-matrix: ## The same for every extra, on each Python that is here; EXTRAS=… PYTHONS=… only some, UV=uv is faster.
	$(PYTHON) tests/installs/matrix.py $(EXTRAS) $(if $(PYTHONS),--python $(PYTHONS)) $(if $(UV),--uv $(UV))

release: setup ## Wheel, sources, bill of materials and checksums of the last commit in dist/; KEY=… signs them.
	rm -rf dist
	$(BIN)/python tests/installs/release.py $(if $(KEY),--key $(KEY))
	$(PYTHON) tests/installs/matrix.py base --package dist/*.whl
	$(PYTHON) tests/installs/matrix.py base --package dist/*.tar.gz --python $(PYTHON)

anvil: ## A local Ethereum node from npm, for the tests that ask one; they are skipped without it.
	npm install --prefix build/anvil --no-audit --no-fund --ignore-scripts --silent @foundry-rs/anvil@1.7.1

container-lint: ## Linters of the container's files from npm, for the test that runs them; it is skipped without them.
	npm install --prefix build/lint --no-audit --no-fund --ignore-scripts --silent dockerfile-utils@0.16.3 dclint@3.1.0

##@ Examples, figures and files that are made
nvflare-example: setup ## Stock federated averaging under NVFlare's simulator, made secure by our lines.
	rm -rf build/nvflare && mkdir -p build/nvflare
	$(BIN)/python -c "import numpy; numpy.save('build/nvflare/start.npy', numpy.zeros((65, 10)))"
	$(BIN)/secure-agg federation init build/nvflare/federation --task digits --start-model build/nvflare/start.npy \
		$(foreach site,site-1 site-2 site-3 site-4,--client $(site))
	cd examples/nvflare-quickstart && $(CURDIR)/$(BIN)/python job.py $(CURDIR)/build/nvflare
	$(BIN)/secure-agg ledger audit build/nvflare/federation/server/rounds.db --trust build/nvflare/federation/trust.json

flower-example: setup ## A stock Flower app with a SuperLink and three SuperNodes, made secure by our lines.
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/flower-quickstart/run.sh build/flower

service-example: setup ## Five hospitals as processes and a service between them, without a framework, and an audit.
	rm -rf build/service
	$(BIN)/python examples/service/hospitals.py run build/service
	$(BIN)/secure-agg ledger audit build/service/federation/server/rounds.db --trust build/service/federation/trust.json

auditor-example: setup ## A ledger in which two parties misbehave, and what an auditor finds: build/auditor.
	rm -rf build/auditor
	$(BIN)/python examples/auditor/hospitals.py build/auditor
	$(BIN)/python examples/auditor/audit.py build/auditor

notebook-example: setup ## The notebook, run from its first cell to its last: build/notebook/secure-mean.ipynb.
	mkdir -p build/notebook
	$(BIN)/python -c "import nbformat; from nbclient import NotebookClient; \
		book = nbformat.read('examples/notebook/secure-mean.ipynb', 4); NotebookClient(book).execute(); \
		nbformat.write(book, 'build/notebook/secure-mean.ipynb')"

examples: setup ## Eight algorithms on real data, each round compared with plain: build/examples; half an hour.
	mkdir -p build/examples docs/pictures
	for name in survival returns health-insurance mnist-skew compression; do \
		$(BIN)/python examples/$$name/run.py build/examples || exit 1; done
	cp build/examples/mnist-skew.png docs/pictures/mnist-skew.png

large-models: setup ## 25 million parameters in full, and an adapter of a transformer: build/examples; some minutes.
	mkdir -p build/examples
	$(BIN)/python examples/large-models/run.py build/examples

regions-example: setup ## Three regions of four hospitals under a national centre, as processes, and an audit.
	rm -rf build/regions
	$(BIN)/python examples/regions/regions.py run build/regions
	$(BIN)/secure-agg ledger audit build/regions/centre/rounds.db --trust build/regions/trust.json

bench: setup ## Every benchmark suite, a quarter of an hour, and a page: bench-output/report.html.
	$(BIN)/python -m benchmarks all
	$(BIN)/python -m benchmarks report --html bench-output/report.html --markdown bench-output/report.md

vectors: setup ## docs/vectors anew; they change only where the protocol does.
	PYTHONPATH=tests:. $(BIN)/python tests/conformance/make_vectors.py

explorer: ## The page of secure-agg explore anew from explorer/: types, then the bundle. Needs Node 20 and npm.
	@test -d explorer/node_modules || $(MAKE) --no-print-directory explorer-modules
	cd explorer && node node_modules/typescript/bin/tsc --noEmit && node build.mjs

explorer-modules: ## What the page is built with, by its lock file; from npm's cache where that has it.
	cd explorer && npm ci --prefer-offline --no-audit --no-fund --ignore-scripts --silent

explorer-pictures: setup ## docs/pictures/explorer-*.png, of a ledger made for them, by the machine's Chromium.
	PYTHONPATH=tests:. $(BIN)/python tests/support/explorer/pictures.py docs/pictures

picture: setup ## The chart in the README, from the demo's own data.
	rm -rf build/picture && mkdir -p docs/pictures
	$(BIN)/secure-agg demo --output build/picture
	cp build/picture/breast-cancer-1/demo.png docs/pictures/demo.png
