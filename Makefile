# make demo, make test: everything from a fresh clone; needs Python 3.10 to 3.12 with venv, and make.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# The first of these that is 3.10 to 3.12; `make PYTHON=/path/to/python3.11 ...` overrides it.
PYTHON := $(shell for python in python3 python3.12 python3.11 python3.10 python; do \
  $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$python && break; done)
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -q
# Tests of a file share what they started, so a file is the least that a worker gets; files keep their order.
PARALLEL := --dist loadfile --no-loadscope-reorder
OVER_ROS := tests/hardware tests/test_launch.py
# No display is needed: MuJoCo renders through EGL.
export MUJOCO_GL ?= $(if $(DISPLAY),,egl)

.PHONY: help environment demo test long check lint fast colcon clean

help:  ## Lists the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## */  make \1  \t/'

$(INSTALLED): setup.cfg setup.py pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.10, 3.11 or 3.12 found; install one, or say which: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) lacks the venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "building $(VENV): a few minutes, once" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,dev,ros,bags,pybullet,suite]"
	@touch $@

environment: $(INSTALLED)  ## Builds .venv, once

demo: $(INSTALLED)  ## Trains Go2 to walk, exports the policy and runs it without torch
	$(BIN)/robot-rl demo

test: $(INSTALLED)  ## Runs all tests but those of `make long`
	$(PYTEST) -n 2 $(PARALLEL) -m "not long" $(OVER_ROS:%=--ignore=%)
# Over ROS a test mostly waits, in a network of its own; but nothing runs beside those that measure real time.
	$(PYTEST) -n 4 $(PARALLEL) -m "not alone and not long" $(OVER_ROS)
	$(PYTEST) -m "alone and not long" $(OVER_ROS) || [ $$? = 5 ]  # 5: there are none where ROS is not installed

# `make check test` runs the tests once: all of them include the fast ones.
check: lint $(if $(filter test,$(MAKECMDGOALS)),,fast)  ## ruff, mypy, import contracts and the fast tests

lint: $(INSTALLED)  ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	$(BIN)/lint-imports

long: $(INSTALLED)  ## Runs the tests that take minutes, which `make test` leaves out
	$(PYTEST) -m long

fast: $(INSTALLED)  ## Runs the tests that take less than ten seconds each and may share the machine
	$(PYTEST) -n 2 $(PARALLEL) -m "not slow and not long and not alone"

colcon: $(INSTALLED)  ## Builds the package with colcon, in an environment of its own
	tests/check_colcon.sh $(BIN)/python

clean:  ## Removes the environment and everything that was built, not the runs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
