# Needs python3 (3.11 to 3.13) with pip and venv, and make. Everything is installed into .venv, once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

PYTEST := $(BIN)/python -m pytest -q -n auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-minimum test-postgres test-browser test-cpp test-imagej test-napari test-studio studio lint docs bench bench-track seeds clean

help:  ## show this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile

demo: $(VENV)/installed  ## install, search on a drawn dataset, save pictures
	$(BIN)/evoseg demo

test: lint  ## check style and types, and run the default tests on all cores
	$(PYTEST)

test-all: test $(VENV)-bioimageio/installed  ## run the tests of whole systems as well (kills, a cluster, the wheel, all pages, compilers)
	$(PYTEST) -m '(e2e or browser or cpp or imagej) and not slow and not gpu and not network'

test-minimum: $(VENV)/created  ## run the default tests with the lowest versions that pyproject.toml allows
	$(BIN)/python -m venv --clear $(VENV)-minimum
	mkdir -p build && $(BIN)/python .ci/minimum.py > build/minimum.txt
	$(VENV)-minimum/bin/python -m pip install --quiet --requirement build/minimum.txt --editable .
	$(VENV)-minimum/bin/python -m pytest -q -n auto --dist worksteal -W default

test-postgres: $(VENV)/installed-dev  ## run the library's tests on a PostgreSQL server too, started for it
	$(INSTALL) --editable '.[dev,postgres]'
	sh tests/library/with_postgres.sh $(BIN)/python -m pytest -q tests/library/test_store.py

test-browser: $(VENV)/installed-dev  ## look at the report in headless Chromium (on Debian: apt-get install chromium)
	$(BIN)/python -m pytest -q -rs -m browser tests/browser

studio: $(VENV)/installed  ## install the studio and open it: make studio FOLDER=plates
	$(INSTALL) --quiet --editable '.[studio]'
	$(BIN)/evoseg studio $(FOLDER)

test-studio: $(VENV)/installed-dev  ## test the studio, in headless Chromium too (on Debian: apt-get install chromium-driver)
	$(BIN)/python -m pytest -q -rs -m 'not slow' tests/studio
	$(BIN)/python -m pytest -q -rs -m browser tests/browser/test_studio_in_chromium.py

test-cpp: $(VENV)/installed-dev  ## compile and compare (on Debian: apt-get install g++ libopencv-dnn-dev libopencv-imgproc-dev)
	$(BIN)/python -m pytest -q -rs -m cpp tests/exporters/test_cpp.py

test-imagej: $(VENV)/installed-dev  ## run macros in ImageJ and compare (on Debian: apt-get install imagej xvfb xauth)
	$(BIN)/python -m pytest -q -rs -m imagej tests/exporters/test_imagej.py

test-napari: $(VENV)/installed-dev  ## test the napari plug-in without a screen (on Debian: apt-get install libegl1)
	$(INSTALL) --editable '.[dev,napari]'
	$(BIN)/python -m pytest -q -rs -W default -m napari tests/napari

lint: $(VENV)/installed-dev  ## check style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-dev  ## build the site in build/docs, warnings as errors
	$(BIN)/python -m sphinx -q -W -E -b html docs build/docs
	@echo "open build/docs/index.html"

bench: $(VENV)/installed  ## measure speed
	@set -e; for script in $(filter-out benchmarks/track.py,$(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; $(BIN)/python "$$script"; \
	done

COMMIT ?= HEAD

bench-track: $(VENV)/installed  ## measure the speed of COMMIT, add it to benchmarks/history.csv and print that table
	$(BIN)/python benchmarks/track.py $(COMMIT)

DATASETS ?= datasets
EVALUATIONS ?= 300

seeds: $(VENV)/installed  ## solve all of DATASETS anew for pipelines_db, with EVALUATIONS each
	$(BIN)/python experiments/seeds.py $(DATASETS) --evaluations $(EVALUATIONS)
	rm -rf build/study && mkdir -p build
	$(BIN)/python experiments/seeds.py $(DATASETS) --ledger build/study

# The validator of bioimage.io's packages pins what evoseg does not, so it has an environment of its own.
$(VENV)-bioimageio/installed: Makefile | $(VENV)/created
	$(BIN)/python -m venv --clear $(VENV)-bioimageio
	$(VENV)-bioimageio/bin/python -m pip install --quiet bioimageio.core==0.11.0 onnxruntime==1.32.0 pydantic==2.12.5 torch==2.13.0
	@touch $@

clean:  ## delete what was installed and built
	rm -rf $(VENV) $(VENV)-minimum $(VENV)-bioimageio build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

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
