# The list of chores. `make demo` and `make test` set everything up by themselves.
# PYTHON picks the interpreter, VENV the folder of the virtual environment, PIP_ARGS goes to pip
# (for example PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for a CPU build of torch).

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
DEMO_ARGS ?= --report demo-report.html
TEST_ARGS ?=
FAULTS_ARGS ?=

bin := $(VENV)/bin
# Installed again only when what defines the installation changes.
stamp := $(VENV)/.installed

.PHONY: help demo test check format protos faults examples bench build clean

help: ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(stamp) ## Set up, then run the demo: ingest, mix, train six times, report (about 4 minutes).
	@$(bin)/recollect demo $(DEMO_ARGS)

test: $(stamp) check ## Set up, then run lint, types, wire-contract checks and all tests.
	@echo "== tests"
	@$(bin)/python -m pytest -n 2 --dist loadfile $(TEST_ARGS)

check: $(stamp) ## Lint, formatting, types, import arrows, wire contract.
	@echo "== ruff" && $(bin)/ruff check . && $(bin)/ruff format --check .
	@echo "== mypy" && $(bin)/mypy -p recollect && cd tests && $(abspath $(bin))/mypy --config-file ../pyproject.toml .
	@echo "== import-linter" && $(bin)/lint-imports
	@echo "== wire contract" && $(bin)/buf lint && proto/check_generated.sh $(bin)/python

format: $(stamp) ## Format the code and apply safe lint fixes.
	@$(bin)/ruff format . && $(bin)/ruff check --fix .

protos: $(stamp) ## Write the stubs of the wire contract again.
	@PYTHON=$(abspath $(bin)/python) proto/generate.sh

faults: $(stamp) ## Kill, cut, double, change and rotate, hundreds of times (about an hour); writes bench/results/faults.json.
	@$(bin)/python -m tests.faults $(FAULTS_ARGS)

examples: $(stamp) ## Run every example from a fresh environment with recollect[trainer] and its framework (about 10 minutes).
	@$(bin)/python -m tests.integrations.fresh

bench: $(stamp) ## Measure what docs/ claims; results go to bench/results/.
	@$(bin)/python bench/run.py

build: $(stamp) ## Build the source distribution and the wheel.
	@$(bin)/pip install --quiet build && $(bin)/python -m build --outdir dist .

clean: ## Remove the virtual environment and build leftovers.
	rm -rf $(VENV) build dist *.egg-info

$(stamp): pyproject.toml constraints.txt deploy/set_up.sh $(wildcard *.py mixer/*.py services/*.py services/*/*.py trainer/*.py trainer/*/*.py proto/recollect/v1/*)
	@deploy/set_up.sh "$(PYTHON)" "$(VENV)" $(PIP_ARGS)
	@touch $@
