# Everything runs in .venv, which the first target creates; only Python 3.11 to 3.13 and make are needed.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
DATA := $(abspath ../shared/data)
ifneq ($(wildcard $(DATA)/README.md),)
export PREIMAGE_DATA ?= $(DATA)
endif

.PHONY: demo test test-long torture check bench study site clean

demo: .venv/installed
	@$(BIN)/preimage demo --output out/demo.png --figure out/demo-figure.png --overwrite

# The tests that are not marked long.
test: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

# The tests marked long: minutes each.
test-long: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m long

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

# The documentation, in out/site; warnings and broken links are errors.
site: .venv/installed-docs
	$(BIN)/python -m tools.site

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

.venv/installed-docs: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@ .venv/installed

clean:
	rm -rf .venv out build dist .pytest_cache .ruff_cache
