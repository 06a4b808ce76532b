# What a developer does here, each target being something that could be typed. `make help` lists them.

PYTHON ?= python3
# where the tools live; .venv is made by whichever target needs it first, with any Python from 3.11
VENV ?= .venv
# the interpreters that pyenv keeps are found by check-all, as are those in PATH, and those in the variable TOX_DISCOVER
PYENV := $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.*/bin)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH):$(shell echo $(PYENV) | tr ' ' ':')
# tests run in a process for each processor, file by file: a page is one program; JOBS=0 for one process, as a debugger needs
JOBS ?= logical
PYTEST = pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
.DEFAULT_GOAL = help
.PHONY: help demo check check-all format test quick soak broken-rules cover lint types docs bench faults transparency cancellation dist clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: $(VENV)/.demo ## serve an application on SQLite, load it over HTTP, show what the pool did; APP=fastapi: another one
	python -m examples.$(or $(APP),flask)_app.demo

check: $(VENV)/.dev ## everything that must hold before a commit: lint, types, docs, tests, coverage; minutes
	$(MAKE) --no-print-directory -j3 lint types docs
	$(MAKE) --no-print-directory cover

check-all: $(VENV)/.dev ## run the tests, thoroughly, on every other interpreter found, free-threaded ones included
	tox run -q

test: $(VENV)/.dev ## run the tests, and the examples of README and docs; two minutes
	$(PYTEST)

quick: $(VENV)/.dev ## run what tells most in little time: between two edits
	$(PYTEST) --quick

soak: $(VENV)/.dev ## try all that tests can try, then stress pools for SECONDS (300), from a SEED, and watch the memory
	$(PYTEST) --thorough tests
	python -m tests.project.stress --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED))

broken-rules: $(VENV)/.dev ## break each rule of the pool on purpose, and see a test fail; minutes
	python -m tests.project.broken_rules

cover: $(VENV)/.dev ## run the tests, and fail when a branch of the library was not taken
	$(PYTEST) --cov

format: $(VENV)/.dev ## lay the code out
	ruff format .
	ruff check --fix .

lint: $(VENV)/.dev ## check the layout, the code's habits, the import contract, and that sentences have nouns
	ruff format --check .
	ruff check .
	lint-imports --config setup.cfg
	python -m tests.project.prose

types: $(VENV)/.dev ## check the types, with mypy and pyright, and that every public name has one
	mypy
	pyright
	pyright --verifytypes ProxyPatternPool --ignoreexternal

docs: $(VENV)/.dev ## build the documentation into docs/_build
	sphinx-build -q -W -b html docs docs/_build/html

bench: $(VENV)/.dev ## measure against the peers, and print ratios
	python -m benchmarks

faults: $(VENV)/.dev ## restart, stop and freeze a PostgreSQL under pools, and print what came of it
	python -m benchmarks.faults

transparency: $(VENV)/.dev ## measure what proxies do as their object does, into docs/transparency.md
	python -m tests.transparency.table

cancellation: $(VENV)/.dev ## cancel AsyncPool at each point, and write what came of it into docs/cancellation.md
	python -m tests.async_pool.test_cancellation

dist: $(VENV)/.dev ## build the wheel and the source archive into dist/
	python -m build

clean: ## remove everything that was made
	rm -rf $(VENV) .tox .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis docs/_build dist build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	pip install -q --config-settings editable_mode=compat -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	pip install -q --config-settings editable_mode=compat -e '.[dev]'
	touch $@ $(VENV)/.demo
