# make demo: plan, train, predict and evaluate on real images.   make test: run the tests.   make lint: style and types.
# make parity: compare the evaluation with panoptica's.   make docs: build the docs site, build/site/index.html.
# Each makes .venv and installs into it the first time; afterwards it starts at once. The last two have .venv-parity and
# .venv-docs.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
# Processes that share the tests out among them, a file to one at a time; two keep two cores busy.
WORKERS ?= 2
.PHONY: demo test lint parity docs

demo: .venv/installed-test
	$(BIN)/nnUNetv2_mamba demo

test: .venv/installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The fixtures of other tests need hypothesis, which this environment lacks.
parity: .venv-parity/installed
	.venv-parity/bin/python -m pytest --noconftest tests/evaluation/test_panoptica.py

# A broken link, or a name of the API that does not exist, fails.
docs: .venv-docs/installed
	.venv-docs/bin/zensical build --clean --strict

.venv/bin/python:
	@echo "creating .venv"
	@$(PYTHON) -m venv .venv

# pip's own output has hundreds of lines; without any, the minutes of the PyTorch download look like a hang.
.venv/installed-%: pyproject.toml setup.py | .venv/bin/python
	@echo "installing PyTorch, nnU-Net and this package into .venv (once; several GB, some minutes)"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e ".[$*]" \
	  | awk '/^ *(Downloading|Building|Installing|Successfully)/ { print "  " substr($$0, 1, 100); fflush() }'
	@touch $@

# panoptica needs older versions of NumPy and connected-components-3d than nnU-Net brings. Ours is installed without what
# it depends on: the evaluation needs neither PyTorch nor nnU-Net.
.venv-parity/installed: pyproject.toml setup.py
	@echo "installing panoptica and this package into .venv-parity (once; less than a minute)"
	@$(PYTHON) -m venv .venv-parity
	@.venv-parity/bin/python -m pip install --disable-pip-version-check --progress-bar off --quiet \
	  numpy scipy connected-components-3d surface-distance tqdm pytest "panoptica>=2.1,<3"
	@.venv-parity/bin/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@touch $@

# Docstrings are read, not imported: the site needs neither PyTorch nor nnU-Net. pip reads dependency groups since 25.1.
.venv-docs/installed: pyproject.toml
	@echo "installing Zensical into .venv-docs (once; less than a minute)"
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --disable-pip-version-check --quiet "pip>=25.1"
	@.venv-docs/bin/python -m pip install --disable-pip-version-check --progress-bar off --quiet --group docs
	@touch $@
