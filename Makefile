# Everything on a fresh machine: `make demo` runs the main job, `make test` all checks.
# Both set up .venv first; nothing outside this folder is touched, but for the Debian packages
# of a virtual screen, which tests of the viewer need and root is given if they are missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What Qt and software OpenGL need on a machine without a screen.
SCREEN_PACKAGES := xvfb xauth libgl1 libgl1-mesa-dri libegl1 libglx0 libglib2.0-0 libdbus-1-3 \
  libfontconfig1 libxkbcommon-x11-0 libx11-xcb1 libxcb-glx0 libxcb-icccm4 libxcb-image0 \
  libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-shm0 libxcb-sync1 \
  libxcb-xfixes0 libxcb-xinerama0 libxcb-xkb1

# A screen of our own even where there is one: windows of tests would steal the user's focus.
ON_A_SCREEN := xvfb-run --auto-servernum --server-args='-screen 0 1920x1200x24 -nolisten tcp'

.PHONY: demo test lint format bench bench-viewer bench-meaning screen clean

demo: $(STAMP)
	$(BIN)/python -m accweight_core demo --out demo

test: lint screen
	$(ON_A_SCREEN) $(BIN)/python -m pytest -n auto

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# SIZE=quick takes minutes, medium gigabytes, full billions of weights and 20 GB of disk.
SIZE ?= quick

bench: $(STAMP)
	$(BIN)/python benchmarks/suite.py --size $(SIZE)

bench-viewer: $(STAMP) screen
	$(ON_A_SCREEN) $(BIN)/python benchmarks/viewer.py

bench-meaning: $(STAMP)
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
	fi; touch $(VENV)/.screen

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "accweight needs Python 3.11 or newer; point to one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
