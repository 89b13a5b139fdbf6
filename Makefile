# Needs python3 (3.11 to 3.13) with pip and venv, and make. Everything is installed into .venv, once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-postgres test-browser test-cpp test-imagej lint docs bench seeds clean

help:  ## show this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile

demo: $(VENV)/installed  ## install, search on a drawn dataset, save pictures
	$(BIN)/evoseg demo

test: lint  ## check style and types, run the tests on all cores
	$(BIN)/python -m pytest -q -n auto --dist loadfile

test-postgres: $(VENV)/installed-dev  ## run the library's tests on a PostgreSQL server too, started for it
	$(INSTALL) --editable '.[dev,postgres]'
	sh tests/store/with_postgres.sh $(BIN)/python -m pytest -q tests/store/test_library.py

test-browser: $(VENV)/installed-dev  ## look at the report in headless Chromium (on Debian: apt-get install chromium)
	$(BIN)/python -m pytest -q -rs -m browser tests/browser

test-cpp: $(VENV)/installed-dev  ## compile and compare (on Debian: apt-get install g++ libopencv-imgproc-dev)
	$(BIN)/python -m pytest -q -rs -m cpp tests/export/test_cpp.py

test-imagej: $(VENV)/installed-dev  ## run macros in ImageJ and compare (on Debian: apt-get install imagej xvfb xauth)
	$(BIN)/python -m pytest -q -rs -m imagej tests/export/test_imagej.py

lint: $(VENV)/installed-dev  ## check style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-dev  ## build the site in build/docs, warnings as errors
	$(BIN)/python -m sphinx -q -W -E -b html docs build/docs
	@echo "open build/docs/index.html"

bench: $(VENV)/installed  ## measure speed
	@set -e; for script in benchmarks/*.py; do \
	  [ -e "$$script" ] || { echo "benchmarks/ holds no script yet"; break; }; \
	  echo "== $$script"; $(BIN)/python "$$script"; \
	done

DATASETS ?= ../shared/datasets
EVALUATIONS ?= 300

seeds: $(VENV)/installed  ## solve all of DATASETS anew for pipelines_db, with EVALUATIONS each
	$(BIN)/python experiments/seeds.py $(DATASETS) --evaluations $(EVALUATIONS)
	rm -f build/transfer.jsonl && mkdir -p build
	$(BIN)/python experiments/transfer.py $(DATASETS) --out build/transfer.jsonl --images 10
	$(BIN)/python experiments/transfer.py --ledger build/transfer.jsonl

clean:  ## delete what was installed and built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Stamps: a later `make` installs again only when one of these files has changed. The virtual environment has a
# stamp of its own, because a failed `python3 -m venv` leaves a folder that looks complete.
$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "evoseg needs Python 3.11, 3.12 or 3.13; choose one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/created
	$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/created
	$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/installed $@
