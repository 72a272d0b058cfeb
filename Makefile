.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test fuzz lint bench bench-peers docs lock clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Two marks, so that `make run` need not install what only tests and lint use.
$(VENV)/.run: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	@echo "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rini.pth"
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/.run  ## install what is needed, migrate, serve on 127.0.0.1:8000 with the model in the box
	@RINI_LOCAL_MODEL=$${RINI_LOCAL_MODEL:-preload} exec $(BIN)/python -m rini serve

test: $(VENV)/.dev  ## all tests (some skip without ../shared)
	$(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: $(VENV)/.dev  ## schemathesis over every endpoint, for ten minutes
	$(BIN)/python -m tests.fuzz.run

lint: $(VENV)/.dev  ## ruff, pyright (strict on src), import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## the figures in docs/performance.md, measured here and now
	$(BIN)/python -m bench

bench-peers: $(VENV)/.dev  ## Rini beside other gateways, which are installed outside the project (RINI_PEERS_DIR)
	$(BIN)/python -m bench.peers

docs: $(VENV)/.dev  ## the tables in docs/settings.md, errors.md, logs.md and translation.md and .env.example, from the source
	$(BIN)/python -m tests.support.settings_page
	$(BIN)/python -m tests.support.errors_page
	$(BIN)/python -m tests.support.logs_page
	$(BIN)/python -m tests.support.dialects_page

lock: $(VENV)/.dev  ## pin every dependency anew, with hashes and without addresses
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCK) --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate --extra local --extra postgres --extra traces --group weights

clean:  ## forget the virtual environment and caches (never the data)
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache build dist
