# Everything a newcomer types. `make demo` and `make test` need python >= 3.11 and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
JAX ?= cpu
OUT ?= outputs/demo
ARGS ?=
WORKERS ?= 3
# The first of these that runs and is new enough; a version manager's shim may exist and still fail.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { command -v $$p; break; }; done)

ifeq ($(filter $(JAX),cpu cuda12 cuda13 tpu),)
$(error JAX=$(JAX) is not a build of JAX: take cpu, cuda12, cuda13 or tpu)
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
ACCELERATOR := $(filter-out cpu,$(JAX))
COMMA := ,
PYTEST := $(BIN)/python -m pytest $(ARGS)
SHARED := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-fast torture lint format clean

help:
	@echo "make demo [JAX=cpu|cuda12|cuda13|tpu] [OUT=outputs/demo] [ARGS=...]   record, rebuild, train, report"
	@echo "make test        the whole suite          make test-fast   without the slow tests"
	@echo "make torture     the longest tests        make lint        ruff, mypy and the import contract"
	@echo "make format      rewrite to the style     make clean       remove environments and caches (not outputs)"
	@echo "Variables: PYTHON (now: $(PYTHON)), VENV (now: $(VENV))"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No python >= 3.11 found: install one or pass PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11: pass PYTHON=/path/to/a/newer/python"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "The venv module failed: on Debian and Ubuntu install python3-venv, or pass another PYTHON=..."; exit 1; }

# One stamp per set of extras: a second run finds it newer than setup.cfg and starts at once.
$(VENV)/.installed-$(JAX): setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing jaxrecon for $(JAX) into $(VENV) (a minute or two, once) ..."
	@$(PIP) install --editable ".$(addsuffix ],$(addprefix [,$(ACCELERATOR)))"
	@touch $@

$(VENV)/.installed-test-$(JAX): setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing jaxrecon and what its tests need for $(JAX) into $(VENV) (a minute or two, once) ..."
	@$(PIP) install --editable ".[test$(addprefix $(COMMA),$(ACCELERATOR))]"
	@touch $@

$(VENV)/.installed-lint: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing the linters into $(VENV) ..."
	@$(PIP) install --editable ".[lint]"
	@touch $@

demo: $(VENV)/.installed-$(JAX)
	@$(BIN)/python experiments/quickstart.py --out $(OUT) $(ARGS)

test: $(VENV)/.installed-test-$(JAX)
	$(PYTEST) $(SHARED) -m "not torture"

test-fast: $(VENV)/.installed-test-$(JAX)
	$(PYTEST) $(SHARED) -m "not torture and not slow"

torture: $(VENV)/.installed-test-$(JAX)
	$(PYTEST) -m torture

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-* build dist jaxrecon.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find jaxrecon kernels agents experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +
