# `make demo` and `make test` need only Python 3.11 or newer: each makes its own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?=
STUDY ?=
# A file stays on one worker, so that it builds its shared models and searches once. tests/conftest.py has the order.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder
# TensorFlow logs that it found no GPU, and more, above everything that we print.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo study check test compat lint docs screenshots fans clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "keras-initx needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed  ## compare initializers on handwritten digits (about two minutes)
	$(BIN)/keras-initx tune --results results/demo --logs runs/demo --overwrite $(DEMO)
	@echo "(tensorboard is in $(BIN))"

study: $(VENV)/.installed  ## compare random, Xavier and He initialization, as the textbooks do
	$(BIN)/keras-initx study $(STUDY)

check: lint  ## lint, types and the tests that catch most faults: run it before every commit
	$(BIN)/python -m pytest $(PARALLEL) -q -m "check and not slow" $(PYTEST)

test: $(VENV)/.installed  ## the whole test suite; PYTEST="-k fans" narrows it
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST)

compat:  ## the core's tests and a small search on every Keras version that pyproject.toml allows
	.ci/compat

lint: $(VENV)/.installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed  ## write docs/reference from the docstrings
	$(BIN)/python docs/generate.py

screenshots: $(VENV)/.installed  ## take the README's pictures of TensorBoard (needs chromium and chromedriver)
	$(BIN)/python docs/screenshots.py

fans: $(VENV)/.installed  ## measure the fans of every kind of layer, ours and Keras's (docs/fans.md)
	$(BIN)/python benchmarks/fans.py --write docs/fans.md

clean:  ## remove the virtual environment
	rm -rf $(VENV)
