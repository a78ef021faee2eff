# `make demo` and `make test` need nothing but Python 3.11 or newer: each makes its own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?=
STUDY ?=
# TensorFlow reports that it found no GPU, and more, before anything of ours can be read.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo study test fans compat docs screenshots lint clean

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

study: $(VENV)/.installed  ## random, Xavier and He, as the textbooks compare them
	$(BIN)/keras-initx study $(STUDY)

test: $(VENV)/.installed  ## the whole test suite
	$(BIN)/python -m pytest --numprocesses auto $(PYTEST)

docs: $(VENV)/.installed  ## the reference in docs/reference, from the docstrings and the gains
	$(BIN)/python docs/generate.py

screenshots: $(VENV)/.installed  ## the README's pictures of TensorBoard, taken by Chromium and chromedriver
	$(BIN)/python docs/screenshots.py

compat:  ## the core's tests on every Keras version that pyproject.toml allows
	.ci/compat

fans: $(VENV)/.installed  ## measure the fans of every kind of layer, ours and Keras's (docs/fans.md)
	$(BIN)/python benchmarks/fans.py --write docs/fans.md

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV)
