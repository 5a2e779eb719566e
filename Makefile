# `make` shows what there is. Every target sets up .venv on first use.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup train test lint format clean bench bench-scaling

help:  ## show the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with the pinned versions

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'mlc needs Python 3.11 or newer; set PYTHON=')"
	@echo "setting up $(VENV): this installs PyTorch and takes a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $(STAMP)

train: $(STAMP)  ## train on the embedded pictures (ARGS="head=factorised" to change anything)
	$(BIN)/python -m mlc.train $(ARGS)

test: $(STAMP) lint  ## lint, types, import floors and tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

lint: $(STAMP)  ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config pyproject.toml

format: $(STAMP)  ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

DEVICE ?= cpu
bench: $(STAMP) .venv-peers/.installed  ## the table of targets against a bare loop and the peers (forty minutes; DEVICE=cuda)
	$(BIN)/python -m benchmarks --device $(DEVICE)

bench-scaling: $(STAMP)  ## cost against rows, labels and epochs, over three decades (five minutes)
	$(BIN)/python -m benchmarks.scaling --device $(DEVICE)

# The peers see this environment's packages through a .pth file, so that pip finds torch there and brings no other.
.venv-peers/.installed: benchmarks/peers.txt $(STAMP)
	@rm -rf .venv-peers && $(BIN)/python -m venv .venv-peers
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$(.venv-peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth"
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement benchmarks/peers.txt \
		&& touch $@ || { rm -rf .venv-peers; echo "peers: skipped, because no package registry could be reached"; }

clean:  ## remove .venv and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
