# Everything runs in .venv, which the first target creates; only Python 3.11 to 3.13 and make are needed.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
EXE := .exe
else
BIN := .venv/bin
endif
DATA := $(abspath ../shared/data)
ifneq ($(wildcard $(DATA)/README.md),)
export PREIMAGE_DATA ?= $(DATA)
endif

.PHONY: demo demo-pinned test test-long slow-tests test-newest test-oldest properties fuzz mutants coverage torture check bench study site sbom requirements release clean

demo: .venv/installed
	@$(BIN)/preimage demo --output out/demo.png --figure out/demo-figure.png --overwrite

# The same with the very files that requirements/demo.txt names by their hashes; `make requirements` renews it.
demo-pinned: $(BIN)/python$(EXE)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/demo.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/preimage demo --output out/demo.png --figure out/demo-figure.png --overwrite

# All tests but those marked long, and those that tests/slow.txt names: minutes.
test: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

# Those that `make test` leaves: they are marked long, minutes each, or tests/slow.txt names them.
test-long: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m 'long or slow'

# Names in tests/slow.txt what takes long now.
slow-tests: .venv/installed-test
	@mkdir -p out
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m 'not long' -o junit_family=xunit1 --junitxml out/tests.xml
	$(BIN)/python -m tests.slow out/tests.xml

# With the newest version of everything, and pre-releases of nothing.
test-newest: .venv/installed-test
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[test]'
	$(BIN)/python -m pip list
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m 'not long'

# Property tests with many examples, other ones each time.
properties: .venv/installed-test
	PREIMAGE_EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 -m 'not long' tests/*/test_properties.py

# Damaged files of every format, for so many seconds; what a reader does wrong is kept in out/fuzz.
FUZZ_SECONDS ?= 600
fuzz: .venv/installed-test
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# The engine is changed line by line, and its tests have to notice: two hours at most. Survivors: out/mutants.csv.
MUTANT_SECONDS ?= 7200
mutants: .venv/installed-test
	$(BIN)/python -m tests.mutants --seconds $(MUTANT_SECONDS)

# Lines and branches that the tests run, those of processes that they start as well; PATHS="tests/engine" for a part.
coverage: .venv/installed-test
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m 'not long' $(PATHS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report $(if $(PATHS),--fail-under=0)

# The core's tests with the lowest versions that pyproject.toml allows, in an environment of its own (about 5 GB): the packages of the
# core, and of the tests what these import, with the newest of what these need in turn: what is deprecated there is no error.
OLDEST := tests/engine tests/networks tests/operators tests/noise tests/images tests/stopping tests/restore tests/series tests/jobs
test-oldest: .venv/installed-test
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-oldest
	$(BIN)/uv pip install --quiet --python .venv-oldest/$(notdir $(BIN))/python --resolution lowest-direct --editable '.[oldest]'
	.venv-oldest/$(notdir $(BIN))/python -m pytest -W ignore::DeprecationWarning -m 'not long' $(OLDEST)

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
	@PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes preimage --ignoreexternal | awk '/completeness score/ {print; score = $$NF + 0} END {exit score < 99.9}'
	@long=$$(git ls-files '*.py' | xargs wc -l | awk '$$2 != "total" && $$1 > 400 {print $$2 " has " $$1 " lines"}'); \
		test -z "$$long" || { echo "over 400 lines: $$long"; exit 1; }

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks

# make study NAME=denoising SCALE=smoke WORKERS=2 runs one study; without NAME, all are listed. At SCALE=imagenet a CLASSIFIER of
# your own. RAY=auto or HOST:PORT: the workers are tasks of a cluster.
SCALE ?= small
WORKERS ?= 1
study: .venv/installed-test
	$(BIN)/python -m studies $(NAME) --scale $(SCALE) --workers $(WORKERS) $(if $(CLASSIFIER),--classifier $(CLASSIFIER)) $(if $(RAY),--ray $(RAY))

# What .venv holds, with versions, licenses and sources: out/sbom.json (CycloneDX); the tool has an environment of its own.
sbom: .venv/installed-tools
	@mkdir -p out
	$(BIN)/uv tool run --quiet --with 'setuptools<81' --from cyclonedx-bom cyclonedx-py environment --no-validate --output-reproducible \
		--output-file out/sbom.json --pyproject pyproject.toml $(BIN)/python$(EXE)
	@$(BIN)/python -c "import json; print(len(json.load(open('out/sbom.json'))['components']), 'components in out/sbom.json')"

# Renews the pinned demo environment: the newest versions that pyproject.toml and pip's own constraints allow, for every system,
# with the hash of each file.
requirements: .venv/installed-tools
	@limits=$$($(BIN)/python -m pip config list | sed -n "s/^global.constraint='\(.*\)'/\1/p"); \
	$(BIN)/uv pip compile --quiet $${limits:+--constraint "$$limits"} --universal --generate-hashes --upgrade --python-version 3.11 \
		--no-header --no-annotate --extra figures pyproject.toml requirements/build.in --output-file requirements/demo.txt

# The documentation, in out/site; warnings and broken links are errors.
site: .venv/installed-docs
	$(BIN)/python -m tools.site

$(BIN)/python$(EXE):
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 is needed; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/installed: $(BIN)/python$(EXE) pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[figures]'
	@touch $@

.venv/installed-test: $(BIN)/python$(EXE) pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ .venv/installed

.venv/installed-bench: $(BIN)/python$(EXE) pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@touch $@

.venv/installed-tools: .venv/installed-test
	$(BIN)/python -m pip install --quiet --editable '.[tools]'
	@touch $@

.venv/installed-docs: $(BIN)/python$(EXE) pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@ .venv/installed

clean:
	rm -rf .venv .venv-oldest out build dist .pytest_cache .ruff_cache
