# The commands of this project. They need GNU make (3.81 or newer), Python >= 3.11 and a package index.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

# May be set on the command line: make test PYTHON=python3.12 VENV=.venv-3.12 ARGS="-k window"
PYTHON ?=
VENV := .venv
CONSTRAINTS := constraints.txt
ARGS :=
PYTHONS := python3.11 python3.12 python3.13

# What a person has set up for other work must not reach the demo or the tests.
unexport $(filter-out MAKINI_TESTS_%,$(filter AIRFLOW_% _AIRFLOW_% MAKINI_%,$(.VARIABLES)))
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE PYTHONWARNINGS PYTHONSAFEPATH PYTHONDEVMODE
unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV ARGS PYTHONS

# Proxies stay as they are for the package index; the sandbox is on loopback, which no proxy reaches.
comma := ,
loopback := 127.0.0.1,localhost,::1
unproxied := $(or $(NO_PROXY),$(no_proxy))
export NO_PROXY := $(if $(unproxied),$(unproxied)$(comma))$(loopback)
export no_proxy := $(NO_PROXY)

# The distribution test installs with the same pins as this environment.
export MAKINI_TESTS_CONSTRAINTS := $(CONSTRAINTS)

python := "$(VENV)/bin/python"
# With MAKINI_TESTS_NO_SKIP=1 a test that is skipped has failed.
pytest := $(python) -m pytest $(if $(filter 1,$(MAKINI_TESTS_NO_SKIP)),-p tests.no_skips)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: setup ## run initial and incremental sync against the sandbox, in real Airflow
	@$(python) scripts/demo.py

.PHONY: demo-webhooks
demo-webhooks: setup ## show a change, its webhook and the landed record, in real Airflow
	@$(python) scripts/demo_webhooks.py

.PHONY: test
test: WORKERS := 2
test: lint ## lint, then the whole test suite, in two processes
	$(pytest) -n $(WORKERS) --dist loadfile $(ARGS)

.PHONY: test-fast
test-fast: setup-dev ## the tests that start neither Airflow nor pip
	$(pytest) -m "not airflow and not scheduler and not package" $(ARGS)

.PHONY: scenarios
scenarios: SCENARIOS := 20000
scenarios: setup-dev ## 20,000 random scenarios of a source that changes while it is read (a quarter of an hour)
	MAKINI_TESTS_SCENARIOS=$(SCENARIOS) $(pytest) tests/sync -k nothing_is_lost --timeout 0 -n 2 --dist load $(ARGS)

.PHONY: webhooks-trial
webhooks-trial: DATABASE := postgresql
webhooks-trial: setup-dev ## 10,000 webhooks through real Airflow, with kills and forgeries (about five minutes)
	$(python) tests/airflow/webhooks_trial.py --database $(DATABASE) $(ARGS)

.PHONY: results
results: SEED := 1
results: TRIALS := 30
results: setup-dev ## write the table of docs/results.md: what is lost when data changes and requests fail
	$(python) -m benchmarks.nothing_is_lost --seed $(SEED) --trials $(TRIALS) --write $(ARGS)

.PHONY: memory
memory: SIZES := 10000 100000 2000000
memory: setup-dev ## write the table of docs/results.md: peak memory and requests up to 2 million records
	$(python) -m benchmarks.memory_and_requests --sizes $(SIZES) --write $(ARGS)

.PHONY: lint
lint: setup-dev ## ruff, mypy and the import contracts, without changing anything
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	"$(VENV)/bin/lint-imports"

.PHONY: format
format: setup-dev ## let ruff format the code and mend what it can
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

.PHONY: build
build: setup-dev ## sdist and wheel, in dist/
	$(python) -m build --no-isolation .

.PHONY: setup
setup: ## make the virtual environment .venv, with what the demo needs
	@sh scripts/setup.sh runtime "$(VENV)" "$(CONSTRAINTS)" "$(PYTHON)"

.PHONY: setup-dev
setup-dev: setup ## add what tests and lint need
	@sh scripts/setup.sh dev "$(VENV)" "$(CONSTRAINTS)" "$(PYTHON)"

.PHONY: constraints
constraints: setup ## resolve all pinned versions anew (needs every Python in PYTHONS="...")
	$(python) scripts/constraints.py $(PYTHONS)

.PHONY: clean
clean: ## remove what builds, tests and tools left behind, but not .venv and makini-data
	rm -rf build dist .airflow .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path "./.venv*" -prune -exec rm -rf {} +
