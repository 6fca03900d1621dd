# Two commands matter: `make demo` and `make test`. Both build .venv first, with uv where it is found.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint types tests bench clean

demo: $(READY)
	$(BIN)/lambdatrace demo

test: lint types tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

tests: $(READY)
	$(BIN)/pytest

bench: $(READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
	  f"Python {sys.version.split()[0]} is too old: 3.10 or newer is needed, make PYTHON=…")'
	@echo 'Installing into $(VENV): the collector and the tests need some 1.5 GB; minutes at first,'
	@echo 'a few seconds once the packages are in the cache of uv or pip.'
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
	  uv pip install --quiet --python $(BIN)/python -e '.[all]' --group dev; \
	else \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' && \
	  $(BIN)/python -m pip install --quiet -e '.[all]' --group dev; \
	fi
	@touch $@
