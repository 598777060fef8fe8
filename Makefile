# Targets explain themselves: `make` or `make help` prints the ## comments.
# All products go to build/ (ignored by git), the Python environment to .venv/.

VENV ?= .venv
PY := $(VENV)/bin/python
BUILD := build
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## show this list
	@echo "usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install what is missing: Debian packages (says which and why first; sudo where not root) and .venv
	@.ci/setup --venv $(VENV)

.PHONY: check
check: setup ## lint, types, layers and the fast tests: under a minute, no root, no virtual machine
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict
	@$(VENV)/bin/lint-imports --no-logo
	@$(PY) -m pytest -q -n 2 tests

.PHONY: clean
clean: ## remove what tests and demo leave behind (disks, transcripts, caches); keeps kernels and images
	@rm -rf $(BUILD)/demo $(BUILD)/tests $(BUILD)/tmp .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find bootsvc initramfs qemu-lab tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove everything that is not in git: all products and .venv
	@rm -rf $(BUILD) $(VENV) *.egg-info
