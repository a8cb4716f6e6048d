# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
# Test processes at a time: they wait more than they compute. The demo, one long test, begins first.
WORKERS ?= 4
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow fresh check clean bed
.DEFAULT_GOAL := test

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

bed: $(STAMP)  ## engine, compose, PostgreSQL images, S3 server: installed or made where they are missing
	$(BIN)/python -m tests.bed up

demo: bed  ## the incident, replayed on real parts and caught (KEEP=1 leaves it running)
	KEEP=$(KEEP) DOCKER_CONFIG=$(CURDIR)/.bed/docker-config $(BIN)/python -m deployments.demo

test: bed  ## the tests, on real parts
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: bed  ## those that take minutes: kills and faults, exactness under writers, memory
	$(BIN)/python -m pytest -m slow

fresh: bed  ## a machine with nothing installed, made here: a new clone, `make demo` and `make test` in it (or DO='...')
	$(BIN)/python -m tests.bed.fresh $(if $(DO),'$(DO)')

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## what the test bed and the demo left: labelled containers, volumes, networks; servers they started
	-$(BIN)/python -m deployments.demo --clean
	-$(BIN)/python -m tests.bed down
	rm -rf .bed .demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache
