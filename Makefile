# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check clean bed
.DEFAULT_GOAL := test

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

bed: $(STAMP)  ## engine, compose, PostgreSQL images, S3 server: installed or made where they are missing
	$(BIN)/python -m tests.bed up

demo: bed  ## the incident, replayed on real parts and caught (KEEP=1 leaves it running)
	KEEP=$(KEEP) $(BIN)/python -m deployments.demo

test: bed  ## every test, on real parts
	$(BIN)/python -m pytest

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## what the test bed and the demo left: labelled containers, volumes, networks; servers they started
	-$(BIN)/python -m deployments.demo --clean
	-$(BIN)/python -m tests.bed down
	rm -rf .bed .demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache
