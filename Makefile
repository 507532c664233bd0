# Everything on a fresh machine: `make demo` runs the main job, `make test` all checks.
# Both set up .venv first, the one with what the demonstration and the viewer need, the other with
# what tests need as well; nothing outside this folder is touched, but for the Debian packages
# of a virtual screen, which tests of the viewer need and root is given if they are missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOR_DEMO := $(VENV)/.installed-for-demo
FOR_TESTS := $(VENV)/.installed
COMPILED := $(VENV)/.compiled

# Installing compiles nothing, so what is imported is compiled once and kept, also where Python is
# told not to: tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

# What Qt and software OpenGL need on a machine without a screen, and a browser to open reports in.
SCREEN_PACKAGES := xvfb xauth libgl1 libgl1-mesa-dri libegl1 libglx0 libglib2.0-0 libdbus-1-3 \
  libfontconfig1 libxkbcommon-x11-0 libx11-xcb1 libxcb-glx0 libxcb-icccm4 libxcb-image0 \
  libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-shm0 libxcb-sync1 \
  libxcb-xfixes0 libxcb-xinerama0 libxcb-xkb1 chromium

# A screen of our own even where there is one: windows of tests would steal the user's focus.
ON_A_SCREEN := xvfb-run --auto-servernum --server-args='-screen 0 1920x1200x24 -nolisten tcp'

define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "accweight needs Python 3.11 or newer; point to one: make PYTHON=/path/to/python3.11"; exit 1; }
@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || \
  { echo "cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
@$(pip) --upgrade 'pip>=25'
endef

# Python brings an old pip, which takes thrice the time to find out what is needed.
pip = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
comma := ,
install = $(pip) -c constraints.txt -e '.[$(1)]'

.PHONY: demo test test-thorough test-often test-python pytest lint format bench bench-viewer bench-meaning screen clean

demo: $(FOR_DEMO)
	$(BIN)/python -m accweight_core demo --out demo

# What waits for the network, or takes one core, runs side by side: mypy goes on beside the tests.
test:
	@$(MAKE) --no-print-directory -j 3 lint pytest

# Every damage, shape and example where `make test` tries a sample: see tests/thorough.py.
test-thorough: export ACCWEIGHT_THOROUGH := 1
test-thorough: test

# What depends on when threads run, again and again, with three workers per core so that each waits
# for the others: make test-often TIMES=30 TESTS=tests/test_viewer_live.py
TIMES ?= 30
test-often: $(COMPILED) screen
	@for n in $$(seq $(TIMES)); do \
	  $(ON_A_SCREEN) $(BIN)/python -m pytest -q -n $$((3 * $$(nproc))) -m gl \
	    $(or $(TESTS),tests/test_viewer_growth.py tests/test_viewer_live.py) || exit 1; done

# The tests under another interpreter, in an environment of its own: make test-python PYTHON=python3.13
test-python:
	@$(PYTHON) -c 'import sys; print("Python", sys.version.split()[0])'
	$(MAKE) pytest VENV=.venv-$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# Each worker takes a part of the files, and then tests of whoever has most left: what the tests of a
# file share, and the library they import, is made in one process.
pytest: $(COMPILED) screen
	$(ON_A_SCREEN) $(BIN)/python -m pytest -n auto --dist worksteal $(TESTS)

lint: $(FOR_TESTS)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: $(FOR_TESTS)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# SIZE=quick takes minutes, medium gigabytes, full billions of weights and 20 GB of disk.
SIZE ?= quick

bench: $(FOR_TESTS)
	$(BIN)/python benchmarks/suite.py --size $(SIZE)

bench-viewer: $(FOR_TESTS) screen
	$(ON_A_SCREEN) $(BIN)/python benchmarks/viewer.py

bench-meaning: $(FOR_TESTS)
	$(BIN)/python benchmarks/continuity.py
	$(BIN)/python benchmarks/published_experiment.py

screen:
	@if [ -f $(VENV)/.screen ] && command -v xvfb-run >/dev/null; then exit 0; fi; \
	if command -v dpkg-query >/dev/null && dpkg-query -W $(SCREEN_PACKAGES) >/dev/null 2>&1; \
	then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -qq -y --no-install-recommends $(SCREEN_PACKAGES) >/dev/null || exit 1; \
	elif ! command -v xvfb-run >/dev/null; then \
	  echo "tests of the viewer need a virtual screen; on Debian or Ubuntu:"; \
	  echo "  sudo apt-get install $(SCREEN_PACKAGES)"; exit 1; \
	fi; mkdir -p $(VENV) && touch $(VENV)/.screen

$(FOR_DEMO): pyproject.toml constraints.txt
	$(make_venv)
	$(call install,demo$(comma)viewer)
	@touch $@

$(FOR_TESTS): pyproject.toml constraints.txt
	$(make_venv)
	$(call install,dev)
	@touch $(FOR_DEMO) $@

# Byte code is written of what is imported, when it is imported: compiling all of torch and sympy
# first takes longer than the rest of the demonstration. Tests want it before, and get it from every
# core: compiled in the middle of a test, other people's warnings would be errors. Other people's
# tests, and thousands of models of which tests import a handful, are half of it all.
HARDLY_IMPORTED := /(tests?|benchmarks?|internal_test_util|testing/_internal|transformers/models|$\
  sympy/physics|jax/experimental/(pallas|mosaic|sparse)|orbax/checkpoint/experimental|$\
  dask/dataframe|gymnasium/envs/mujoco|tensorboard/_vendor|OpenGL/raw/GLES[123]|networkx|$\
  pip|mypyc?|pygments/lexers)/

$(COMPILED): $(FOR_TESTS)
	$(BIN)/python -W ignore -m compileall -qq -j 0 -x '$(HARDLY_IMPORTED)' $(VENV)/lib \
	  accweight_core adapters viewer || true
	@touch $@

clean:
	rm -rf $(VENV) .venv-* demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
