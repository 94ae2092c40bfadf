# Every target sets up what it needs: a venv in .venv, the pinned versions, this package.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/.installed-bench
PAGES := $(VENV)/.installed-docs
DATA ?=
OUT ?= out
FAST := -m "not slow and not alone and not browser and not long"

.PHONY: demo test test-all test-long test-oldest test-newest test-install check format bench docs clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; choose one with make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(PEERS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

$(PAGES): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

demo: $(STAMP)  ## train, cross-fuse, predict: on DATA if given, else on a virtual Europe
	$(BIN)/python -m tighnari_models --out $(OUT)/models $(if $(DATA),--data '$(DATA)')

test: $(STAMP)  ## the fast tests, about five minutes on 2 cores: two workers, a thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(FAST)

test-all: $(STAMP)  ## the slow tests besides
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "(slow or browser) and not alone" --timeout 900
	$(BIN)/python -m pytest -m alone --timeout 900

test-long: $(STAMP)  ## 15,000 odd files for the readers, others each time, and a kill at every write; by hand
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m long

test-oldest test-newest: test-%:  ## the fast tests on the oldest supported versions, or the newest, in a venv of their own; by hand
	test -x $(OUT)/$*/bin/python || $(PYTHON) -m venv $(OUT)/$*
	$(OUT)/$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-$*.txt -e '.[dev]'
	OMP_NUM_THREADS=1 $(OUT)/$*/bin/python -m pytest -n 2 $(FAST) -p tests.other_versions

test-install: $(STAMP)  ## wheel and sdist, installed into an empty environment, both commands run elsewhere; by hand
	rm -rf $(OUT)/dist $(OUT)/empty $(OUT)/away && mkdir -p $(OUT)/away
	$(BIN)/python -m build --outdir $(OUT)/dist
	$(PYTHON) -m venv $(OUT)/empty
	$(OUT)/empty/bin/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: -c constraints.txt $(OUT)/dist/*.whl
	cd $(OUT)/away && $(abspath $(OUT))/empty/bin/python -m tighnari_graph --limit 300 --folds 2 --out graph
	cd $(OUT)/away && $(abspath $(OUT))/empty/bin/python -m tighnari_models --limit 200 --folds 2 --epochs 1 --out models
	$(OUT)/empty/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(OUT)/dist/*.tar.gz
	cd $(OUT)/away && $(abspath $(OUT))/empty/bin/python -m tighnari_graph --limit 300 --folds 2 --out graph-of-sdist
	cd $(OUT)/away && $(abspath $(OUT))/empty/bin/python -m tighnari_models --limit 200 --folds 2 --epochs 1 --out models-of-sdist

check: $(STAMP)  ## format, lint, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(PEERS)  ## times beside the peers', full size, one table, under ten minutes on 2 cores
	$(BIN)/python -m benchmarks.cpu --out $(OUT)/bench

docs: $(PAGES)  ## the pages in out/docs, every example executed, offline; under five minutes on 2 cores
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -j 2 -b html -d $(OUT)/doctrees docs $(OUT)/docs

clean:
	rm -rf $(VENV) docs/_generated docs/auto_gallery .pytest_cache .mypy_cache .ruff_cache .hypothesis
