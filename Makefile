# Every target does its own set-up: a .venv and one install from the package index.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test bench train clean

demo: .venv/installed
	$(BIN)/trim demo

test: .venv/test
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/pytest

bench: .venv/installed
	$(BIN)/python benchmarks/bench.py

train: .venv/training
	$(BIN)/python -m trim.embedded.training

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/test: .venv/installed
	$(BIN)/pip install --quiet --editable ".[test]"
	touch $@

.venv/training: .venv/installed
	$(BIN)/pip install --quiet --editable ".[training]" --constraint training-constraints.txt
	touch $@

clean:
	rm -rf .venv build demo
