# make demo: plan, train, predict and evaluate on real images.   make test: run the tests.   make lint: style and types.
# Each makes .venv and installs into it the first time; afterwards it starts at once.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
.PHONY: demo test lint

demo: .venv/installed-test
	$(BIN)/nnUNetv2_mamba demo

test: .venv/installed-test
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.venv/bin/python:
	@echo "creating .venv"
	@$(PYTHON) -m venv .venv

# pip's own output has hundreds of lines; without any, the minutes of the PyTorch download look like a hang.
.venv/installed-%: pyproject.toml setup.py | .venv/bin/python
	@echo "installing PyTorch, nnU-Net and this package into .venv (once; several GB, some minutes)"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e ".[$*]" \
	  | awk '/^ *(Downloading|Building|Installing|Successfully)/ { print "  " substr($$0, 1, 100); fflush() }'
	@touch $@
