# A target calls ops/TARGET.py, where the work is done. Variables come from the command line, such as STACK=dev.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
STACK ?= dev
PYTHON ?= python3
BIN := .venv/bin
export STACK CONTEXT BASE

.PHONY: help demo demo-destroy cluster cluster-down pulumi preview running up outputs destroy recover inventory drift render diff lint format unit test docs session bench image lock environments

##@ Start
help:  ## show this list
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Installs the locked packages into .venv, again after each change of requirements.lock.
.venv/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and sys.executable + " is Python " + sys.version.split()[0] + ", and 3.11 or later is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && touch $@

demo: .venv/.ready  ## run a first job: on a cluster with Pulumi if there is one, otherwise on a local Ray
	$(BIN)/python -m ops demo

demo-destroy: .venv/.ready  ## remove what `make demo` deployed
	$(BIN)/python -m ops demo --destroy

cluster: .venv/.ready  ## start a single-node Kubernetes on this Linux machine, without Docker
	$(BIN)/python -m ops cluster up

cluster-down: .venv/.ready  ## stop it
	$(BIN)/python -m ops cluster down

pulumi: .venv/.ready  ## install the Pulumi CLI that the workflows use into .pulumi/
	$(BIN)/python -m ops pulumi

##@ A stack (STACK=dev)
preview: .venv/.ready  ## show what `up` would change, and which jobs run now (RUNNING=no: without the jobs)
	$(BIN)/python -m ops preview --stack $(STACK) $(if $(filter no,$(RUNNING)),--no-running-jobs)

running: .venv/.ready  ## list the jobs that run now
	$(BIN)/python -m ops running --stack $(STACK)

up: .venv/.ready  ## run `pulumi up` without questions, for CI
	$(BIN)/python -m ops up --stack $(STACK)

outputs: .venv/.ready  ## write the outputs file for people and CI without Pulumi
	$(BIN)/python -m ops outputs --stack $(STACK)

destroy: .venv/.ready  ## destroy the stack, then check that nothing is left (OTHERS=delete, JOBS=wait|stop|ignore)
	$(BIN)/python -m ops destroy --stack $(STACK)

recover: .venv/.ready  ## repair the state after an `up` that was killed
	$(BIN)/python -m ops recover --stack $(STACK)

inventory: .venv/.ready  ## list the stack's objects and whether they are on the cluster
	$(BIN)/python -m ops inventory --stack $(STACK)

drift: .venv/.ready  ## compare the cluster with the stack; fails if they differ
	$(BIN)/python -m ops drift --stack $(STACK)

##@ Review without a cluster
render: .venv/.ready  ## write the stack's manifests to files
	$(BIN)/python -m ops render --stack $(STACK)

diff: .venv/.ready  ## compare the stack's manifests with those of a git revision (BASE=origin/main)
	$(BIN)/python -m ops diff --stack $(STACK) --base $(BASE) $(if $(COMMENT),--comment $(COMMENT))

##@ Development
lint: .venv/.ready  ## run ruff, mypy and the import rules
	$(BIN)/python -m ops test --tier lint

format: .venv/.ready  ## fix and format the code
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

unit: .venv/.ready  ## run the fast tests: no Ray, no cluster
	$(BIN)/python -m ops test --tier unit

test: .venv/.ready  ## run all tests that this machine can run
	$(BIN)/python -m ops test

docs: .venv/.ready  ## write the generated pages: docs/python-api.md, the tables of docs/configuration.md
	$(BIN)/python -m ops docs

session: .venv/.ready  ## run a first session on a local Ray and write docs/first-session.md (OUTPUTS=FILE: on its cluster)
	$(BIN)/python -m ops session $(if $(OUTPUTS),--outputs $(OUTPUTS))

environments: .venv/.ready  ## check the protection rules of GitHub's environments, for CI
	$(BIN)/python -m ops environments

bench: .venv/.ready  ## measure the figures of docs/benchmarks.md
	$(BIN)/python -m bench

image: .venv/.ready  ## build the image of the keeper with docker, podman or buildah (IMAGE=registry.example.com/rayjobs:0.1.0)
	$(BIN)/python -m ops image $(if $(IMAGE),--name $(IMAGE))

# Only the index counts: a wheel of this machine's own must not get its hash into the lock. For a mirror set PIP_INDEX_URL.
COMPILE := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL -u PIP_NO_INDEX PIP_CONFIG_FILE=/dev/null $(BIN)/pip-compile --quiet \
  --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock: .venv/.ready  ## write requirements.lock and the part of it that is in the image, with hashes
	$(COMPILE) --output-file requirements.lock requirements-dev.txt
	$(COMPILE) --output-file image/requirements.lock --constraint requirements.lock --extra keeper pyproject.toml
