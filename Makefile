# Each target is one line; what it does is in ops/. STACK, CONTEXT, KUBECONFIG and BASE come from the command line.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
STACK ?= dev
PYTHON ?= python3
BIN := .venv/bin
export STACK CONTEXT BASE

.PHONY: help demo demo-destroy test lint format unit lock outputs up preview diff render destroy recover inventory drift bench

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and sys.executable + " is Python " + sys.version.split()[0] + ", and 3.11 or later is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock && touch $@

demo: .venv/.ready  ## the main job with what this machine has: a cluster and Pulumi, or the embedded local Ray
	$(BIN)/python -m ops demo

demo-destroy: .venv/.ready  ## take the demo's stack (and its throw-away cluster) away again
	$(BIN)/python -m ops demo --destroy

test: .venv/.ready  ## everything this machine can run; ends with what was left out and why
	$(BIN)/python -m ops test

unit: .venv/.ready  ## the fast tier alone
	$(BIN)/python -m ops test --tier unit

lint: .venv/.ready  ## ruff, formatting, mypy
	$(BIN)/python -m ops test --tier lint

format: .venv/.ready  ## rewrite the code as lint wants it
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: .venv/.ready  ## requirements.txt and requirements-dev.txt -> requirements.lock
	$(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock requirements-dev.txt

outputs: .venv/.ready  ## the stack's outputs as a file for people and CI without Pulumi
	$(BIN)/python -m ops outputs --stack $(STACK)

up: .venv/.ready  ## `pulumi up` of STACK without questions, for CI
	$(BIN)/python -m ops up --stack $(STACK)

preview: .venv/.ready  ## what `up` would do to STACK, and which jobs run there now
	$(BIN)/python -m ops preview --stack $(STACK)

render: .venv/.ready  ## STACK's manifests as files, without a cluster or secrets
	$(BIN)/python -m ops render --stack $(STACK)

diff: .venv/.ready  ## STACK's manifests here against those of the git revision BASE
	$(BIN)/python -m ops diff --stack $(STACK) --base $(BASE) $(if $(COMMENT),--comment $(COMMENT))

destroy: .venv/.ready  ## destroy STACK, then prove that nothing is left
	$(BIN)/python -m ops destroy --stack $(STACK)

recover: .venv/.ready  ## after an `up` that was killed: settle the state so that `up` can go on
	$(BIN)/python -m ops recover --stack $(STACK)

inventory: .venv/.ready  ## which of STACK's objects are on the cluster
	$(BIN)/python -m ops inventory --stack $(STACK)

drift: .venv/.ready  ## does the cluster still agree with STACK; fails if not
	$(BIN)/python -m ops drift --stack $(STACK)

bench: .venv/.ready  ## the measurements of docs/benchmarks.md
	$(BIN)/python -m bench
