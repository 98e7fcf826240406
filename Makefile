# Everything runs in .venv, which is made when missing. `make -n TARGET` shows what would run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# For the tests of its loaders. Only PyTorch's own index and local files have builds named +cpu, so
# that this never brings CUDA; where pip knows none, those tests are skipped.
TORCH := torch==2.13.0+cpu

# These fork: in processes of their own, so that what they leave meets no other test. So does Ray, whose
# library in the same process as PyTorch and forks was seen to crash it (2026-11).
FORKING := tests/dataloaders tests/workers
RAY := tests/workers/test_ray.py

.PHONY: setup demo test fmt lint type bench proto man docs wheel check clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)' \
	  || echo 'no $(TORCH) is found: tests of PyTorch are skipped'
	touch $@

# The main job on real data: digits and photographs that scikit-learn ships.
demo: $(STAMP)
	$(BIN)/python docs/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --ignore=,$(FORKING))
	$(BIN)/python -m pytest -n 2 --dist worksteal $(FORKING) --ignore=$(RAY)
	$(BIN)/python -m pytest $(RAY)

fmt: $(STAMP)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP)
	$(BIN)/mypy

# Figures against their targets, with floors measured in the same run.
bench: $(STAMP)
	$(BIN)/python benchmarks/main_job.py
	$(BIN)/python benchmarks/merging.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/remotes.py
	$(BIN)/python benchmarks/importing.py
	$(BIN)/python benchmarks/loaders.py
	$(BIN)/python benchmarks/workers.py

# Python code of the protocol, which is checked in.
proto: $(STAMP)
	cd hangar_git/transfer/proto && PATH="$(abspath $(BIN)):$$PATH" \
	  $(abspath $(BIN))/python -m grpc_tools.protoc -I. --python_out=. --mypy_out=. hangar.proto

# Manual pages and the commands' page of the site, which are checked in: the wheel installs the former.
man: $(STAMP)
	$(BIN)/python -m hangar_git.cli.manual docs/man
	$(BIN)/python docs/commands.py

# The site, in build/site; a warning is an error.
docs: $(STAMP)
	$(BIN)/sphinx-build -q -W --keep-going -j auto -d build/doctrees docs build/site

# dist/, and the wheel at work in a fresh environment of each Python at hand.
wheel:
	.ci/wheel

# What CI runs.
check: lint type test

clean:
	rm -rf $(VENV) build dist *.egg-info
