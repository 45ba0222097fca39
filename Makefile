# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

# Set-up is made once and then only looked at: the stamps are newer than what they were made from.

PYTHON ?= python3
VENV   := .venv
SETUP  := PYTHON='$(PYTHON)' VENV='$(VENV)' scripts/setup.sh

# runc and the mount tools lie where an ordinary user's PATH does not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# Root's notebooks are nobody else's: the server is on loopback, and has a token.
ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

# The core is covered by replay tests alone.
# Tests that try many inputs; the other tests of the core have to reach its lines without them.
MANY := tests/replay/test_damaged_logs.py tests/replay/test_determinism.py tests/replay/test_dropped.py \
	tests/replay/test_order.py tests/replay/test_properties.py
COVERAGE := --cov=mnttrace.capture.join --cov-report= --cov-fail-under=95

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-dev demo notebooks check test test-kernels test-arm64 test-debian13 raw-logs lint format clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.ready ## Install the distribution's packages and mnttrace itself in .venv

setup-dev: $(VENV)/.ready-dev ## Install what the tests need, too: container runtimes, Chromium, …

demo: $(VENV)/.ready ## Record a real container that leaks a mount, and show the leak (root or sudo)
	@scripts/demo.sh

notebooks: $(VENV)/.ready-notebooks ## Open the notebooks in JupyterLab, with everything installed
	@cd notebooks && ../$(VENV)/bin/jupyter lab --ip 127.0.0.1 $(ALLOW_ROOT) $(ARGS)

# Both are always run, so that one failure does not hide another.
check: $(VENV)/.ready-check ## Lint, and run the tests that need Python alone: no root, no bcc; ARGS='...' go to pytest
	@$(MAKE) --no-print-directory lint; lint=$$?; \
	$(VENV)/bin/python -m pytest -n 2 tests/unit $(if $(ARGS),tests/replay $(ARGS),$(MANY)); tests=$$?; \
	$(if $(ARGS),,$(VENV)/bin/python -m pytest -n 2 tests/replay $(MANY:%=--ignore %) $(COVERAGE) || tests=$$?;) \
	exit $$((tests ? tests : lint))

test: $(VENV)/.ready-dev ## Run the whole test suite; ARGS='...' go to pytest
	@$(VENV)/bin/python -m pytest $(ARGS)

test-kernels: $(VENV)/.ready-dev ## Run tests on stock kernels in QEMU (root); KERNELS='6.12 7.3', SUITES=seeds,doctor, AT_ONCE=2
	@$(VENV)/bin/python -m tests.guests.matrix $(if $(SUITES),--suites $(SUITES)) $(if $(AT_ONCE),--at-once $(AT_ONCE)) $(KERNELS)

test-arm64: $(VENV)/.ready-dev ## Run tests on Linux 6.1 of arm64 in QEMU (root); SUITES=seeds,doctor
	@$(VENV)/bin/python -m tests.guests.arm64 $(if $(SUITES),--suites $(SUITES))

test-debian13: $(VENV)/.ready-dev ## Run tests with Debian 13's Python, bcc and LLVM (root); ARGS='...' go to pytest
	@$(VENV)/bin/python -m tests.guests.debian13 $(ARGS)

raw-logs: $(VENV)/.ready-dev ## Record the logs of tests/replay anew, on stock kernels in QEMU (root): look through git diff
	@rm -rf .kernels/*/raw-logs
	@$(VENV)/bin/python -m tests.guests.matrix --suites raw-logs 5.10 6.1 6.12 7.3
	@$(VENV)/bin/python -m tests.guests.matrix --suites raw-logs-backends 6.18
	@$(VENV)/bin/python -m tests.guests.arm64 --suites raw-logs
	@cp -r .kernels/*/raw-logs/* tests/replay/logs
	@$(VENV)/bin/python -m tests.replay.make_logs --rows

lint: $(VENV)/.ready-check ## Check style, types and licence lines
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/python scripts/spdx.py
	@if command -v shellcheck >/dev/null; then set -x; shellcheck scripts/*.sh .ci/run; fi

format: $(VENV)/.ready-check ## Put the Python files into their form
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

clean: ## Remove the virtual environment and what the tools left behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.ready: pyproject.toml scripts/setup.sh
	@$(SETUP)
	@touch $@

$(VENV)/.ready-notebooks: pyproject.toml scripts/setup.sh
	@$(SETUP) notebooks
	@touch $(VENV)/.ready $@

# Python alone: nothing of the distribution's.
$(VENV)/.ready-check: pyproject.toml scripts/setup.sh
	@$(SETUP) check
	@touch $@

# The development set-up holds the others.
$(VENV)/.ready-dev: pyproject.toml scripts/setup.sh
	@$(SETUP) dev
	@touch $(VENV)/.ready $(VENV)/.ready-notebooks $(VENV)/.ready-check $@
