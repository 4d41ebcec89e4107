# The commands of this repository; `make help` lists them.
# `setup` needs Python 3.11 or newer, make and git; everything else runs in the .venv it makes.

PYTHON ?= python3
NODES ?= 2
BIN := .venv/bin
INSTALLED := .venv/installed
CEPH ?= .ceph

.DEFAULT_GOAL := help
.PHONY: help setup quickstart check test test-unit test-browser test-s3 test-kills cluster-up cluster-down lock clean

help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Make .venv with the pinned requirements (instant the second time)

# Hash-checked and complete, so pip resolves nothing. The stamp comes last: a broken-off
# installation is taken up again.
$(INSTALLED): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "shardline needs Python 3.11 or newer; set PYTHON=python3.x")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the requirements into .venv; the first time takes a few minutes"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input \
		--require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input \
		--no-deps --no-build-isolation -e .
	@touch $@

quickstart: setup  ## Raw digits to HTTP answers: the whole line on real data
	@$(BIN)/python examples/digits/quickstart.py

check: setup  ## Format, lint, types, layers and the rules of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/architecture

test: setup  ## All tests, the fast ones first
	@# Hundreds of processes start, and where PYTHONDONTWRITEBYTECODE is set each would compile anew.
	@$(BIN)/python -m compileall -q src tests
	$(BIN)/pytest -q -n auto --dist loadfile tests/unit
	$(BIN)/pytest -q -n auto --dist loadfile tests/storage tests/data
	$(BIN)/pytest -q -n auto --dist loadfile tests/models tests/hostile tests/cuts
	$(BIN)/pytest -q tests/cluster tests/faults tests/e2e

test-unit: setup  ## The tests that need neither Ray nor TensorFlow
	$(BIN)/pytest -q tests/unit

test-browser: setup  ## Draw a dataset's page in headless Chromium, which must be installed
	@command -v chromium >/dev/null || { echo "chromium is missing; on Debian: apt-get install chromium"; exit 1; }
	$(BIN)/pytest -q tests/browser

test-s3: setup $(CEPH)/unpacked  ## The store and the registry on moto, ministack, Ceph RGW (from Debian's packages) and rclone
	CEPH_FOLDER=$(CEPH) $(BIN)/pytest -q -n auto --dist worksteal tests/s3

$(CEPH)/unpacked: tests/fetch_ceph.sh
	@tests/fetch_ceph.sh $(CEPH)
	@touch $@

test-kills: setup  ## 200 random SIGKILLs of processes that commit checkpoints, in a folder and on S3
	S3_KILLS=200 $(BIN)/pytest -q -s tests/cuts/test_kills.py

cluster-up: setup  ## A local Ray cluster of NODES=2 nodes, for trying things out
	@$(BIN)/python cluster/local.py up --nodes $(NODES)

cluster-down: setup  ## Stop that cluster
	@$(BIN)/python cluster/local.py down

lock:  ## Resolve the requirements again (needs uv)
	@for name in runtime dev; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-emit-find-links --no-header --no-annotate \
			requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done

clean:  ## Remove caches and .venv
	rm -rf .venv .ceph .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
