# Everything runs in .venv, which the first target creates; only Python 3.11 to 3.13 and make are needed.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
DATA := $(abspath ../shared/data)
ifneq ($(wildcard $(DATA)/README.md),)
export PREIMAGE_DATA ?= $(DATA)
endif

.PHONY: demo test test-long test-oldest torture check bench study release clean

demo: .venv/installed
	@$(BIN)/preimage demo --output out/demo.png --figure out/demo-figure.png --overwrite

# The tests that are not marked long.
test: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

# The tests marked long: minutes each.
test-long: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m long

# The core's tests with the lowest versions that pyproject.toml allows, in an environment of its own (about 5 GB): the packages of the
# core, and of the tests what these import, with the newest of what these need in turn: what is deprecated there is no error.
OLDEST := tests/engine tests/networks tests/operators tests/noise tests/images tests/stopping tests/restore tests/series tests/jobs
test-oldest: .venv/installed-test
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-oldest
	$(BIN)/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[oldest]'
	.venv-oldest/bin/python -m pytest -W ignore::DeprecationWarning $(OLDEST)

# Builds what is uploaded, and checks it; uploading is left to a person.
release: .venv/installed-test
	rm -rf dist
	$(BIN)/python -m build --no-isolation .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/python -m pytest -q -n 0 -m long tests/test_wheel.py
	@-$(BIN)/python -m benchmarks.left

# Kills, hostile files, damaged checkpoints and models, streams, signals, limits, names: under 45 minutes on 2 cores.
torture: .venv/installed-test
	$(BIN)/python -m tests.robustness

check: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	@PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes preimage --ignoreexternal | awk '/completeness score/ {print; score = $$NF + 0} END {exit score < 98}'
	@long=$$(git ls-files '*.py' | xargs wc -l | awk '$$2 != "total" && $$1 > 400 {print $$2 " has " $$1 " lines"}'); \
		test -z "$$long" || { echo "over 400 lines: $$long"; exit 1; }

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks

# make study NAME=denoising SCALE=smoke WORKERS=2 runs one study; without NAME, all are listed. At SCALE=imagenet a CLASSIFIER of
# your own.
SCALE ?= small
WORKERS ?= 1
study: .venv/installed-test
	$(BIN)/python -m studies $(NAME) --scale $(SCALE) --workers $(WORKERS) $(if $(CLASSIFIER),--classifier $(CLASSIFIER))

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 is needed; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/installed-test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ .venv/installed

.venv/installed-bench: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@touch $@

clean:
	rm -rf .venv .venv-oldest out build dist .pytest_cache .ruff_cache
