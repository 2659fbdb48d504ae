PYTHON ?= python3
BIN := .venv/bin
SPEC ?=
OUT ?= data/$(basename $(notdir $(SPEC)))
WORKERS ?=
FAMILY ?= exfractal
SEED ?= 0
PROCESSES ?= 2
SPREAD := --numprocesses auto --maxprocesses 8 --dist worksteal
workers = $(if $(WORKERS),--workers $(WORKERS))

.DEFAULT_GOAL := help
.PHONY: help dataset test train-smoke test-train lint style bench bench-check bench-train coverage audit docs clean

help:
	@echo 'make dataset      bake the quick start of both families; or SPEC=exfractaldb-1k [OUT=data/ex1k] [WORKERS=8]'
	@echo 'make test         run the tests'
	@echo 'make train-smoke  bake a quick start and train on it for a minute, on two processes of this CPU'
	@echo 'make test-train   run the trainer'"'"'s tests, with torch for CPUs in .venv-train'
	@echo 'make lint         check style, types and layers'
	@echo 'make style        fix what of the style can be fixed by itself'
	@echo 'make bench        measure the speed, as ratios to the published procedure'
	@echo 'make bench-check  compare the speed with the recorded ratios'
	@echo 'make bench-train  measure how fast the trainer loads images, against the ordinary pipeline'
	@echo 'make coverage     measure which lines the tests run, those of the kernels too'
	@echo 'make audit        ask PyPI for known weaknesses of the packages that are installed'
	@echo 'make docs         make the pictures of the README and docs/ again'
	@echo 'make clean        remove the environment and the caches; data/ stays'

$(BIN)/fdsl: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'make: PYTHON (=$(PYTHON)) must be Python 3.11 or newer: make PYTHON=python3.12 ...'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'make: $(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	@echo 'installing into .venv'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/test: $(BIN)/fdsl
	@echo 'installing the test tools into .venv'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

ifdef SPEC
dataset: $(BIN)/fdsl
	@$(BIN)/fdsl bake '$(SPEC)' -o '$(OUT)' $(workers)
else ifneq ($(filter command line,$(origin OUT)),)
dataset:
	@echo 'make: OUT (=$(OUT)) goes with SPEC: make dataset SPEC=quickstart-rcdb OUT=$(OUT)'; exit 1
else
dataset: $(BIN)/fdsl
	@$(BIN)/fdsl bake quickstart-exfractal -o data/quickstart-exfractal $(workers)
	@$(BIN)/fdsl bake quickstart-rcdb -o data/quickstart-rcdb $(workers)
endif
	@echo 'the command fdsl is in $(BIN): `. $(BIN)/activate` puts it on the path'

test: .venv/test
	@$(BIN)/python -m pytest $(SPREAD)

.venv-train/done: setup.cfg trainer/constraints-cpu.txt trainer/torch-cpu.txt | $(BIN)/fdsl
	@echo 'installing torch for CPUs, timm and the trainer'"'"'s other packages into .venv-train'
	@$(PYTHON) -m venv .venv-train
	@.venv-train/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --retries 1 --requirement trainer/torch-cpu.txt
	@.venv-train/bin/python -m pip install --quiet --disable-pip-version-check --constraint trainer/constraints-cpu.txt --editable '.[train,test-train]'
	@touch $@

test-train: .venv-train/done
	@cd trainer && ../.venv-train/bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache/trainer --implicit-reexport --allow-untyped-calls --no-warn-return-any *.py
	@.venv-train/bin/python -m pytest $(SPREAD) -W default tests/trainer

train-smoke: .venv-train/done
	@$(BIN)/fdsl bake quickstart-$(FAMILY) -o data/quickstart-$(FAMILY) $(workers)
	@rm -rf runs/smoke-$(FAMILY)
	@OMP_NUM_THREADS=1 .venv-train/bin/python trainer/start.py --standalone --nproc-per-node $(PROCESSES) trainer/pretrain.py --data data/quickstart-$(FAMILY) --config trainer/recipes/smoke.yaml --batch $$((100 / $(PROCESSES))) --seed $(SEED) --workers 1 --out runs/smoke-$(FAMILY)
	@echo 'chance is 1 %; the curves are in runs/smoke-$(FAMILY)/curves.png'

lint: .venv/test
	@$(BIN)/ruff format --check --quiet . || { echo 'ruff: not formatted; `make style` does it'; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

style: .venv/test
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.venv/bench: .venv/test
	@echo 'installing what the published procedure needs into .venv (a C compiler is needed)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	@touch $@

bench: .venv/bench
	@$(BIN)/python benchmarks/bench.py
	@$(BIN)/python benchmarks/curves.py
	@$(BIN)/python benchmarks/footprint.py

bench-train: .venv-train/done
	@.venv-train/bin/python benchmarks/train.py

bench-check: .venv/bench
	@$(BIN)/python benchmarks/bench.py --check

# with numba's compiler off, for coverage does not see into compiled code, the tests that call the kernels; with it on, all but
# one, which limits the size of files: coverage's own, too
coverage: .venv/test
	@$(BIN)/coverage erase
	@NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -q tests/primitives tests/exfractal/test_kernels.py tests/exfractal/test_attractors.py tests/rcdb/test_kernels.py tests/shards/test_png.py
	@$(BIN)/coverage run -m pytest -q --deselect tests/shards/test_faults.py::test_a_limit_on_the_size_of_files_is_told_and_without_it_the_same_command_completes
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

audit: .venv/test
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@$(BIN)/python -m pip freeze --exclude-editable > .venv/audit/installed.txt
	@.venv/audit/bin/pip-audit --requirement .venv/audit/installed.txt --no-deps --disable-pip --strict

docs: .venv/test
	@$(BIN)/python docs/make.py

clean:
	rm -rf .venv .venv-train build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
