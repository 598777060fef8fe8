# Targets explain themselves: `make` or `make help` prints the ## comments.
# All products go to build/ (ignored by git), the Python environment to .venv/.

VENV ?= .venv
PY := $(VENV)/bin/python
BUILD := build
KERNEL ?= cloud
INITRAMFS = $(BUILD)/initramfs/$(KERNEL)-shipped.cpio.zst
IMAGE ?= $(BUILD)/images/debian-v1.bimg
AREA_SIZE ?= 256M
DISK ?= $(BUILD)/disk/machine.img
SECONDS ?= 30
RUNS ?= 20
SEED ?= 1
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## show this list
	@echo "usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install what is missing: Debian packages (says which and why first; sudo if not root), .venv
	@.ci/setup --venv $(VENV)

.PHONY: check
check: setup ## lint, types, layers and the fast tests: about two minutes, no root, no virtual machine
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict
	@$(VENV)/bin/lint-imports --no-logo
	@$(PY) -m pytest -q -n 2 --dist worksteal tests

.PHONY: test
test: check images ## check, then the scenarios in virtual machines, two at a time: half an hour
	@$(PY) -m pytest -n 2 --dist load --maxschedchunk 1 --durations 15 -m 'not thorough' qemu-lab/scenarios

.PHONY: test-all
test-all: check images ## as test, with all scenarios: half as long again; before a release
	@$(PY) -m pytest -n 2 --dist load --maxschedchunk 1 --durations 30 qemu-lab/scenarios

.PHONY: power-cut
power-cut: images ## prove it: every power cut, mistakes made on purpose, disk errors, a recorded machine; tables and a page
	@$(PY) -m tests.power_cut --mutants
	@$(PY) -m tests.power_cut.disk_errors
	@$(PY) -m tests.power_cut.updater_slots
	@$(PY) -m qemu_lab.recorded --jobs 2 --boots 50

.PHONY: soak
soak: kernels ## RUNS=... machines live through random updates, images, power cuts and resets, SEED=...
	@$(PY) -m qemu_lab.soak --runs $(RUNS) --seed $(SEED)

.PHONY: demo
demo: images ## the main job, narrated: install, update, confirm, a bad version thrown back, a timeline
	@$(PY) -m qemu_lab.demo

.PHONY: kernels
kernels: setup ## fetch and unpack Debian's kernels (cloud and generic); nothing is installed on this machine
	@$(PY) -m qemu_lab.images kernels

.PHONY: images
images: kernels deb ## build what the virtual machines boot: Debian images, probe images, updater initramfs
	@$(PY) -m qemu_lab.images build

.PHONY: initramfs
initramfs: kernels ## build the updater's initramfs as shipped (KERNEL=cloud|generic) and show what takes how much
	@mkdir -p $(BUILD)/initramfs $(BUILD)/keys
	@[ -e $(BUILD)/keys/lab.pub ] || $(PY) -m bootsvc.cli key new $(BUILD)/keys/lab
	@echo 'compatible = "lab"' > $(BUILD)/initramfs/shipped.toml
	@$(PY) -m initramfs $(INITRAMFS) --kernel-root $(BUILD)/kernels/$(KERNEL) --measure --entry bootsvc.updater \
		--key $(BUILD)/keys/lab.pub --config $(BUILD)/initramfs/shipped.toml

.PHONY: deb
deb: setup ## build the Debian package for the OS inside an image
	@$(PY) -m bootsvc.packaging

.PHONY: disk
disk: initramfs images ## make a bootable disk file, DISK=..., from an image, IMAGE=...
	@mkdir -p $(dir $(DISK))
	@$(PY) -m bootsvc.cli disk create $(DISK) --force --image $(IMAGE) --area-size $(AREA_SIZE) \
		--kernel $(BUILD)/kernels/$(KERNEL)/boot/vmlinuz-* --initramfs $(INITRAMFS)

.PHONY: lab
lab: setup ## start DISK=... in a virtual machine, its serial console in this terminal
	@[ -e $(DISK) ] || $(MAKE) disk
	@$(PY) -m qemu_lab run $(DISK) --memory 512

.PHONY: bench
bench: images ## measure on this machine: start, update by phase, sizes, least memory
	@$(PY) -m qemu_lab.bench

.PHONY: bench-transfer
bench-transfer: setup ## block sizes and peers on real pairs of 1 GiB images: bytes, requests, time, memory; needs root
	@$(PY) -c 'import fastcdc' 2>/dev/null || $(PY) -m pip install -qq --disable-pip-version-check -e '.[store,lab,dev,bench]'
	@$(PY) -m qemu_lab.bench.transfer

.PHONY: fuzz
fuzz: setup ## coverage-guided fuzzing of every parser for SECONDS=... each, or of TARGET=... alone
	@$(PY) -c 'import atheris' 2>/dev/null || $(PY) -m pip install -qq --disable-pip-version-check -e '.[store,lab,dev,fuzz]'
	@$(PY) -m tests.fuzz $(TARGET) --seconds $(SECONDS)

.PHONY: clean
clean: ## remove what tests and demo leave behind (disks, transcripts, caches); keeps kernels and images
	@rm -rf $(BUILD)/demo $(BUILD)/disk $(BUILD)/tests $(BUILD)/tmp .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find bootsvc initramfs qemu-lab tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove everything that is not in git: all products and .venv
	@rm -rf $(BUILD) $(VENV) *.egg-info
