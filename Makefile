# `make repro` and `make test` work from a fresh clone. They require Python 3.11 to 3.13, git and make.
# The newest Python that can make virtual environments; `make PYTHON=python3.11` chooses another one.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# As pip does.
export UV_SYSTEM_CERTS := 1
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# Install what a lock file lists, with uv; with pip if uv or its index cannot be reached.
install = { command -v uv >/dev/null || $(PIP) install uv; } \
	&& uv pip install --quiet --python $(BIN)/python --require-hashes --requirement $(1) \
	|| { echo "Without uv, installing takes several times as long."; $(PIP) install --require-hashes --requirement $(1); }
PYTEST := pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

.PHONY: help repro test check faults benchmark ui demo docs pictures reference gpu setup lock
.DEFAULT_GOAL := help

help:
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

repro: setup  ## run the whole pipeline: dvc repro
	dvc repro
	@emotion summary

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

gpu: setup  ## train the preset quick on an NVIDIA GPU; needs ARCHIVE=facial-expression-dataset.zip (FER-2013)
	$(PIP) install "$$(sed -n 's/^\(tensorflow\)\(==[0-9.]*\).*/\1[and-cuda]\2/p' requirements.txt)"
	python -c 'import sys, tensorflow as tf; sys.exit(None if tf.config.list_physical_devices("GPU") else "No GPU found.")'
	dvc exp run $$(emotion preset quick) -S fetch.source=path -S fetch.path=$(ARCHIVE)

docs: .venv/developer  ## write the pages about commands and networks, and build the documentation in site/
	python docs/command_line.py > docs/command-line.md
	python docs/networks.py
	rm -rf site
	python docs/build.py site

pictures: .venv/developer  ## make the pictures of the documents again, after `make repro` and `emotion promote 1`
	python docs/pictures.py

reference: setup  ## train the model of this package again; needs ARCHIVE=facial-expression-dataset.zip (FER-2013)
	dvc exp run $$(emotion preset quick) -S train.epochs=60 -S fetch.source=path -S fetch.path=$(ARCHIVE)
	python -m emotion.serving.reference

ui: setup  ## browse runs and models in MLflow; prints the address
	emotion ui

demo: setup  ## start a demo of the champion; prints the address
	emotion demo

setup: .venv/user  ## create .venv with the locked packages

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Install Python 3.11, 3.12 or 3.13 with venv, or name it: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/user: requirements.txt pyproject.toml | .venv/bin/python
	@echo "Installing the packages in requirements.txt (takes a minute or two the first time)"
	@$(call install,requirements.txt)
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/developer: .venv/user requirements-dev.txt
	@$(call install,requirements-dev.txt)
	@touch $@

lock:  ## update both requirements files; requires uv
	uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 pyproject.toml -o requirements.txt
	uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --group dev -c requirements.txt -o requirements-dev.txt
