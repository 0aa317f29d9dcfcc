# Each command sets up what it needs: a virtual environment in .venv, from the pinned versions.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo test test-all lint format bench-evaluation bench-data bench-model bench-attention bench-long-video bench-startup clean

help:
	@echo "make demo              make the data, train LoCo on it, test it, show the table"
	@echo "make test              the fast test suite"
	@echo "make test-all          the slow tests too; what they leave out of src/loco"
	@echo "make lint              ruff, ruff format, mypy"
	@echo "make bench-evaluation  metric, NMS and assignment against plain loops"
	@echo "make bench-data        a training item against loading whole files"
	@echo "make bench-model       parameters, operations and time of each attention strategy"
	@echo "make bench-attention   attention against the plain formula, in time and memory"
	@echo "make bench-long-video  time and memory of a prediction on three hours of video"
	@echo "make bench-startup     what --help costs, against a start with torch"
	@echo "make install           the virtual environment alone"

install: .venv/installed

.venv/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/loco make-synthetic
	$(BIN)/loco train experiment=demo

test: install
	$(BIN)/pytest -n auto -m "not slow"

test-all: install
	$(BIN)/pytest -n auto --cov

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-evaluation: install
	$(BIN)/python benchmarks/evaluation.py

bench-data: install
	$(BIN)/python benchmarks/data.py

bench-model: install
	$(BIN)/python benchmarks/model.py

bench-attention: install
	$(BIN)/python benchmarks/attention.py

bench-long-video: install
	$(BIN)/python benchmarks/long_video.py

bench-startup: install
	$(BIN)/python benchmarks/startup.py

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
