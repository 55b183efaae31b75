# `make repro` and `make test` work from a fresh clone. They require Python 3.11, git and make.
PYTHON ?= python3.11
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
PIP := $(BIN)/pip --disable-pip-version-check --quiet
PYTEST := pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

.PHONY: help repro test check faults benchmark ui demo setup lock
.DEFAULT_GOAL := help

help:
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

repro: setup  ## run the whole pipeline: dvc repro
	dvc repro

test: check  ## set up, check the code, run the tests
	$(PYTEST)

check: .venv/developer  ## run ruff and mypy, like the pre-commit hook
	ruff check
	ruff format --check
	mypy

faults: .venv/developer  ## try about 2,500 faults for hours; continues where it was stopped
	FAULTS=faults.jsonl $(PYTEST) tests/faults

benchmark: setup .venv/torch/bin/torchrun  ## compare training speed with stock Keras and PyTorch
	python benchmarks/training.py compare --torch .venv/torch/bin/python

.venv/torch/bin/torchrun: | .venv/bin/python
	$(PYTHON) -m venv .venv/torch
	.venv/torch/bin/pip install --quiet torch==2.13.0 numpy

ui: setup  ## browse runs and models in MLflow; prints the address
	emotion ui

demo: setup  ## start a demo of the champion; prints the address
	emotion demo

setup: .venv/user  ## create .venv with the locked packages

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/user: requirements.txt pyproject.toml | .venv/bin/python
	@echo "Installing the packages in requirements.txt (takes a few minutes the first time)"
	$(PIP) install --requirement requirements.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/developer: .venv/user requirements-dev.txt
	$(PIP) install --requirement requirements-dev.txt
	@touch $@

lock:  ## update both requirements files; requires uv
	uv pip compile --quiet --upgrade --universal --python-version 3.11 pyproject.toml -o requirements.txt
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --group dev -c requirements.txt -o requirements-dev.txt
