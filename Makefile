PYTHON ?= python3
BIN := .venv/bin
SPEC ?=
OUT ?= data/$(basename $(notdir $(SPEC)))
WORKERS ?=
FAMILY ?= exfractal
SEED ?= 0
PROCESSES ?= 2
PYTHONS ?= python3.11 python3.12 python3.13
TORCH_PYTHON ?= .venv-train/bin/python
SPREAD := --numprocesses auto --maxprocesses 8 --dist worksteal
workers = $(if $(WORKERS),--workers $(WORKERS))

.DEFAULT_GOAL := help
.PHONY: help dataset test test-fast test-pythons train-smoke test-train transfer transfer-gpu lint style bench bench-check bench-scaling bench-train gpu-check fidelity coverage audit docs pages clean

help:
	@echo 'make dataset      bake the quick start of both families; or SPEC=exfractaldb-1k [OUT=data/ex1k] [WORKERS=8]'
	@echo 'make test-fast    run the fast tests'
	@echo 'make test         run all tests but the trainer'"'"'s'
	@echo 'make test-pythons compare goldens and tars of several interpreters: [PYTHONS="python3.11 python3.12"]'
	@echo 'make train-smoke  bake a quick start and train on it for a minute, on two processes of this CPU'
	@echo 'make test-train   run the trainer'"'"'s tests, with torch for CPUs in .venv-train'
	@echo 'make transfer     pre-train and measure the gain on real images, in hours on 2 cores; transfer-gpu: at the published size'
	@echo 'make lint         check style and types'
	@echo 'make style        fix style where it can be fixed automatically'
	@echo 'make bench        measure the speed, and compare it with the published procedures'
	@echo 'make bench-check  compare the speed with the recorded ratios'
	@echo 'make bench-scaling  compare local workers with Dask workers; compute what 1,000,000,000 images take'
	@echo 'make bench-train  measure how fast the trainer loads images, against the ordinary pipeline'
	@echo 'make gpu-check    check the trainer on the GPUs of this machine: [TORCH_PYTHON=python] of an environment with CUDA'
	@echo 'make fidelity     compare images and distributions with the published description'
	@echo 'make coverage     measure which lines the tests run, including kernels'
	@echo 'make audit        check the installed packages for known vulnerabilities'
	@echo 'make docs         build the documentation site: docs/_build/index.html'
	@echo 'make pages        fill in command output and pictures of the README and docs/'
	@echo 'make clean        delete environments and caches; keeps data/ and runs/'

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

test-fast: .venv/test
	@$(BIN)/python -m pytest $(SPREAD) -m 'not slow'

# Every interpreter passes the goldens, and its tars have the bytes of the first one's.
test-pythons:
	@set -e; first=; for python in $(PYTHONS); do \
	version=$$($$python -c 'import platform; print(platform.python_version())'); folder=.venv/pythons/$$version; \
	echo "$$python: Python $$version, installing into $$folder"; \
	$$python -m venv $$folder; \
	$$folder/bin/python -m pip install --quiet --disable-pip-version-check --editable . hypothesis pytest; \
	$$folder/bin/python -m pytest -q tests/test_goldens.py; \
	rm -rf $$folder/data; \
	for family in exfractal rcdb; do $$folder/bin/fdsl bake quickstart-$$family -o $$folder/data/$$family -q $(workers); done; \
	(cd $$folder/data; sha256sum */*.tar) > $$folder/tars.txt; \
	first=$${first:-$$folder/tars.txt}; cmp $$first $$folder/tars.txt; done; \
	echo 'the same bytes'

.venv-train/done: setup.cfg trainer/constraints-cpu.txt trainer/torch-cpu.txt | $(BIN)/fdsl
	@echo 'installing torch for CPUs, timm and the trainer'"'"'s other packages into .venv-train'
	@$(PYTHON) -m venv .venv-train
	@.venv-train/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --retries 1 --requirement trainer/torch-cpu.txt
	@.venv-train/bin/python -m pip install --quiet --disable-pip-version-check --constraint trainer/constraints-cpu.txt --editable '.[train,test-train]'
	@touch $@

test-train: .venv-train/done
	@.venv-train/bin/mypy --cache-dir .mypy_cache/trainer --implicit-reexport --allow-untyped-calls --no-warn-return-any trainer/*.py
	@.venv-train/bin/python -m pytest $(SPREAD) -W default tests/trainer

# --local-addr: torchrun waits for ever where the host name does not resolve
train-smoke: .venv-train/done
	@$(BIN)/fdsl bake quickstart-$(FAMILY) -o data/quickstart-$(FAMILY) $(workers)
	@rm -rf runs/smoke-$(FAMILY)
	@OMP_NUM_THREADS=1 .venv-train/bin/torchrun --standalone --local-addr 127.0.0.1 --nproc-per-node $(PROCESSES) -m trainer.pretrain --data data/quickstart-$(FAMILY) --config smoke --batch $$((100 / $(PROCESSES))) --seed $(SEED) --workers 1 --out runs/smoke-$(FAMILY)
	@echo 'chance is 1 %; the curves are in runs/smoke-$(FAMILY)/curves.png'

transfer: .venv-train/done
	@[ -d /usr/share/datasets/fashion-mnist ] || { echo 'make: Fashion-MNIST is not installed; on Debian and Ubuntu: apt-get install dataset-fashion-mnist'; exit 1; }
	@.venv-train/bin/fdsl ladder run transfer -o runs/transfer --workers $(PROCESSES)
	@.venv-train/bin/fdsl ladder report runs/transfer

# With the torch of `pip install '.[train]'`; .venv-train has torch for CPUs.
transfer-gpu:
	@fdsl ladder run transfer-gpu -o runs/transfer-gpu
	@fdsl ladder report runs/transfer-gpu

lint: .venv/test
	@$(BIN)/ruff format --check --quiet . || { echo 'ruff: files are not formatted; run `make style`'; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

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

gpu-check: $(if $(filter .venv-train/%,$(TORCH_PYTHON)),.venv-train/done)
	@$(TORCH_PYTHON) benchmarks/gpu.py

bench-scaling: .venv/test
	@$(BIN)/python benchmarks/scaling.py

bench-check: .venv/bench
	@$(BIN)/python benchmarks/bench.py --check

fidelity: .venv/bench
	@$(BIN)/python -m tests.fidelity

# Coverage does not see compiled code, so the tests of kernels run with numba's compiler off. The deselected test limits the size
# of files, which coverage's own file exceeds.
coverage: .venv/test
	@$(BIN)/coverage erase
	@NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -q tests/fdsl/primitives $(wildcard tests/*/test_kernels.py) tests/exfractal/test_attractors.py tests/exfractal/test_chaos.py tests/shards/test_png.py
	@$(BIN)/coverage run -m pytest -q --deselect tests/shards/test_faults.py::test_file_size_limit_is_one_line
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

audit: .venv/test
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@$(BIN)/python -m pip freeze --exclude-editable > .venv/audit/installed.txt
	@.venv/audit/bin/pip-audit --requirement .venv/audit/installed.txt --no-deps --disable-pip --strict

.venv/docs: .venv/test
	@echo 'installing the documentation tools into .venv'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

docs: .venv/docs
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs . docs/_build
	@echo 'docs/_build/index.html'

pages: .venv/test
	@$(BIN)/python docs/make.py
	@$(BIN)/python docs/rooms.py

clean:
	rm -rf .venv .venv-train build docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
