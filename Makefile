# Everything that a developer does here, by one word each. `make` alone lists the words.
#
#   PYTHON=/path/python     the Python to make .venv with; a torch that it has is used, not downloaded
#   TORCH_INDEX_URL=URL     where to install torch from, if it must be installed
#   ARGS='…'                handed on to the program of the target (pytest, the demo, the benchmarks)
#   PYTHONS='a b'           more Pythons for test-all

VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
# The Python that runs make_venv.py; it is also what .venv is made with, unless .venv exists and PYTHON was not given.
PYTHON ?= python3
MAKE_VENV = $(PYTHON) tools/make_venv.py $(VENV) --torch --torch-index-url "$(TORCH_INDEX_URL)" \
	$(if $(filter file default,$(origin PYTHON)),,--python "$(PYTHON)")
SOURCES := src tests tools docs/conf.py
# The scripts of a directory that have a command line (tools/figures.py gives it); the others are parts of these.
SCRIPTS = $(shell grep -ls 'parser(__doc__)' $(1)/*.py)
# Runs each, whatever the others say, and fails if one failed.
EACH = worst=0; for script in $(1); do echo "== $$script"; $(BIN)/python $$script $(ARGS) || worst=1; done; exit $$worst

.DEFAULT_GOAL := help
.PHONY: help venv venv-run demo test test-fast test-all campaign campaign-scripts zoo jobs bench bench-overhead bench-codecs bench-diagnose fuzz check static lint format types \
	layering reference docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## make or complete .venv, with torch and the tools of a developer
	@$(MAKE_VENV) --group dev

venv-run:
	@$(MAKE_VENV)

demo: venv-run ## a real 4-rank job hangs and explains itself (PYTHON=… uses the torch that this Python has)
	@$(BIN)/python tools/demo.py $(ARGS)

test: venv ## all tests: those that hold figures alone, then the others in parallel
	@$(BIN)/python tools/run_tests.py $(ARGS)

test-fast: venv ## the tests that take under five seconds each
	@$(BIN)/python tools/run_tests.py --marks "not slow" $(ARGS)

test-all: ## the tests that need no torch, on each Python from 3.10 to 3.13 that is found
	@PYTHONS="$(PYTHONS)" $(PYTHON) tools/test_all.py $(ARGS)

campaign: campaign-scripts ## the long forms: more processes, signals, kills and examples (an hour or more)
	@$(BIN)/python tools/run_tests.py --campaign --hypothesis-profile=campaign -o timeout=7200

campaign-scripts: venv ## of the long forms, those that are programs: storms, kills, acceptors
	@$(call EACH,$(call SCRIPTS,tools/campaigns))

bench-diagnose: venv ## flight recorders of many ranks: time and memory beside torchfrtrace, in one run
	@$(BIN)/python tools/bench/diagnose.py $(ARGS)

bench-overhead: venv ## what an armed program costs: loops in pairs, without and with, idle and asked once a second
	@$(BIN)/python tools/bench/overhead.py $(ARGS)

zoo: venv ## every way to hang: what is said of it, how soon, and what other tools find (a quarter of an hour)
	@$(MAKE_VENV) --group dev --group zoo
	@$(BIN)/python tools/hang_zoo.py $(ARGS)

jobs: venv ## real torchrun jobs that misbehave, each with its verdict (ARGS='NAME…' chooses; five minutes)
	@$(BIN)/python tests/jobs/run.py $(ARGS)

bench: venv ## latencies and costs beside the bare limits of this machine
	@$(call EACH,$(call SCRIPTS,tools/bench) tools/bench_merge.py)

bench-codecs: venv ## the codecs beside the libraries underneath, their rivals, and a plain write
	@$(BIN)/python tools/bench/codec_costs.py $(ARGS)

fuzz: venv ## any bytes at every decoder and every reader of foreign files (ARGS=--seconds=60)
	@$(BIN)/python tools/fuzz/decoders.py $(ARGS)

check: test static fuzz ## test, lint, types, layering, reference, docs and a minute of fuzz

static: lint types layering reference docs ## the parts of check that run no program of ours

lint: venv ## ruff: rules and format
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

format: venv ## rewrite the sources as ruff formats them
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix --select I $(SOURCES)

types: venv ## mypy --strict
	@$(BIN)/mypy

layering: venv ## who may import whom, and the other rules of the house
	@$(BIN)/python -m pytest -q tests/test_house.py

reference: venv ## whether the reference pages are what the code says
	@$(BIN)/python tools/gen_reference.py --check
	@$(BIN)/python tools/gen_run_table.py --check

docs: venv ## write the reference pages and build the documentation into docs/_build/html
	@$(BIN)/python tools/gen_reference.py
	@$(BIN)/python tools/gen_run_table.py
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

clean: ## remove environments, caches and what was built
	rm -rf .venv .venvs .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist docs/_build
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
