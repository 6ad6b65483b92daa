# Everything a developer or CI runs. The first run sets up .venv; later runs find it ready.
#   make test ARGS="tests/unit -k name -n 0"     what follows ARGS= goes to the program that runs
#   make demo PYTHON=/path/to/python3.12         another Python than the newest one found

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
ARGS ?=
# Twice as many as cores: tests wait for disks, and for seconds of quiet, longer than they compute.
WORKERS ?= $(shell expr 2 '*' $$(getconf _NPROCESSORS_ONLN))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
unexport PYTHONHOME
unexport PYTHONPATH
unexport VIRTUAL_ENV

PIP_INSTALL := $(BIN)/python -m pip install --quiet --require-hashes
PROJECT_INSTALL := $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
CODE := $(wildcard src tests benchmarks fuzz)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench fuzz docs format lock changelog clean moved

help: ## say what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

demo: $(VENV)/base-ready ## tour the program on a small data directory in a temporary folder
	@$(BIN)/shenyu-data demo $(ARGS)

test: $(VENV)/dev-ready $(VENV)/parts-ready ## run all tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/dev-ready ## check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/dev-ready ## measure speed, memory and size
	$(BIN)/python -m benchmarks.run $(ARGS)

fuzz: $(VENV)/fuzz-ready ## look for bytes that break a reader (ARGS="--seconds 3600 --only native")
	$(BIN)/python -m fuzz.run $(ARGS)

docs: $(VENV)/dev-ready ## check that the documentation tells the truth
	$(BIN)/python -m pytest tests/docs $(ARGS)

format: $(VENV)/dev-ready ## put the code into shape
	$(BIN)/ruff check --fix-only --exit-zero
	$(BIN)/ruff format

changelog: $(VENV)/dev-ready ## show what the next release notes would say
	$(BIN)/towncrier build --draft

clean: ## remove everything that make and the tools made
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks fuzz tools -name __pycache__ -type d -exec rm -rf {} + 2>/dev/null || true

# Set-up, in three steps, each with a file that says it is done. requirements/*.txt pin and hash
# every package for Python 3.11 to 3.14; the project itself is installed editable on top of them.

# A virtual environment holds absolute paths: one that came along with a moved checkout is of no use.
ifneq "$(shell cat $(VENV)/made-for 2>/dev/null)" "$(CURDIR)"
$(VENV)/made-for: moved
endif

$(VENV)/made-for: tools/make-venv
	@PYTHON="$(PYTHON)" tools/make-venv $(VENV)
	@printf '%s\n' "$(CURDIR)" > $@

$(VENV)/base-ready: $(VENV)/made-for requirements/build.txt requirements/base.txt pyproject.toml
	@echo "Installing what the program needs into $(VENV) ..."
	@$(PIP_INSTALL) -r requirements/build.txt -r requirements/base.txt
	@$(PROJECT_INSTALL)
	@touch $@

$(VENV)/dev-ready: $(VENV)/base-ready requirements/dev.txt
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

# What the tests need and no wheel holds; a part that cannot be had is no reason to stop.
$(VENV)/parts-ready: $(VENV)/made-for tools/get-prometheus
	@tools/get-prometheus $(VENV)/parts
	@touch $@

$(VENV)/fuzz-ready: $(VENV)/dev-ready requirements/fuzz.txt
	@echo "Installing what fuzzing needs into $(VENV) ..."
	@$(PIP_INSTALL) -r requirements/fuzz.txt
	@touch $@

# The package index that uv asks is the one its user has set up; it is named nowhere in the files.
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links

lock: $(VENV)/dev-ready ## pin and hash the requirements anew (ARGS="--upgrade-package NAME")
	$(COMPILE) $(ARGS) --extra dev pyproject.toml --output-file requirements/dev.txt
	$(COMPILE) --constraints requirements/dev.txt pyproject.toml --output-file requirements/base.txt
	$(COMPILE) --constraints requirements/dev.txt --extra fuzz pyproject.toml --output-file requirements/fuzz.txt
	$(COMPILE) --constraints requirements/dev.txt requirements/build.in --output-file requirements/build.txt
