# Everything a contributor types. Needs only python3 (>= 3.11) with pip and venv, and make.
# `make help` lists the targets; a second run reuses the environment in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What CI installs is pinned, build tools included: older pips read the first, newer the second.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
INSTALL := $(BIN)/python -m pip install --quiet --no-input
PINS := pyproject.toml constraints.txt packages/starter/pyproject.toml
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## search and sort real photographs; writes demo-out/index.html
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/polymodal demo --output demo-out $(ARGS)
	@echo '(To have the command in this shell: . $(VENV)/bin/activate)'

test: $(VENV)/.dev  ## run the tests (ARGS="tests/cli -x" for some of them)
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## let ruff rewrite the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## write docs/cli.md from the commands' own --help
	$(BIN)/python tools/cli_docs.py

bench: $(VENV)/.dev  ## run the benchmarks and put their tables into README.md
	$(BIN)/python tools/readme_numbers.py --run

constraints:  ## resolve every dependency anew into constraints.txt
	$(PYTHON) tools/freeze.py

clean:  ## remove the environment and everything built
	rm -rf $(VENV) demo-out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "polymodal needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(PINS) | $(BIN)/python
	@echo "Installing polymodal and its starter model into $(VENV) ..."
	$(INSTALL) -e ./packages/starter -e '.[demo,documents,speech]'
	@touch $@

$(VENV)/.dev: $(PINS) | $(BIN)/python
	@echo "Installing polymodal and its development tools into $(VENV) ..."
	$(INSTALL) -e ./packages/starter -e '.[dev,train]'
	@touch $@ $(VENV)/.demo
