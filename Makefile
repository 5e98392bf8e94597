# make quickstart   set up, fetch a small model, take it through the whole pipeline
# make test         set up and run every test
# make check        formatting, lint, types, layers, house style (run it before a commit)
# make setup        only the environment; PYTHON=python3.12 chooses the interpreter
# make lock         write the lock files again from the environment

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: quickstart test check setup lock

quickstart: $(VENV)/runtime.stamp
	$(BIN)/burnish get smollm2
	$(BIN)/burnish quickstart $(ARGS)

# Two workers of one thread each: tests are many and small.
test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest tests/style

setup: $(VENV)/dev.stamp

lock: $(VENV)/dev.stamp
	$(BIN)/python tools/lock.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Burnish needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	$(PIP) install -r requirements-dev.lock
	@touch $@
