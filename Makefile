# Needs Python >= 3.10, pip and make. `make` lists the targets; each installs what it needs into .venv first.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
# Extra arguments: make quickstart ARGS="--trainer.max_steps 500", make test ARGS="-k resume"
ARGS ?=
# W&B's schema of sweeps, by which tests judge recipes/sweeps. It asks for numpy<2, but works with later ones.
SWEEPS := sweeps==0.3.0
# Two workers with one thread each: two cores do not fight over their threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first Python that starts, is new enough and can make environments; PYTHON=... names one.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10 python)
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-slow lint format papers docs bench bench-gpu build clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

install: $(STAMP) ## make .venv and install the package with everything for development; nothing to do the second time

$(STAMP): pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  for python in $(CANDIDATES); do \
	    if "$$python" -c '$(USABLE)' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "No usable Python >= 3.10 (with venv and pip) among: $(strip $(CANDIDATES))." >&2; \
	    echo "Install one (on Debian and Ubuntu: python3 and python3-venv), or name it: make install PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$found ($$("$$found" -V 2>&1))"; \
	  "$$found" -m venv --clear $(VENV); \
	}
	@echo "Installing into $(VENV): PyTorch is large, the first time takes minutes"
	$(BIN)/python -m pip install -e '.[dev]'
	$(BIN)/python -m pip install --no-deps $(SWEEPS)
	@touch $@

quickstart: install ## train DCGAN on real handwritten digits: one to two minutes on 2 cores, nothing to download
	$(BIN)/lightning-gans fit --config quickstart $(ARGS)
	@run=$$(ls -dt runs/quickstart/version_* | head -n 1); echo; \
	echo "The digits, as they formed:  $$run/samples.gif"; \
	echo "Every picture:               $$run/samples/"; \
	echo "More of them:                $(BIN)/lightning-gans sample --ckpt_path $$run/checkpoints/last.ckpt --n 256 --columns 16 --out more.png"

test: install ## the tests, but the slow ones
	$(PYTEST) $(ARGS)

test-slow: install ## all tests
	$(PYTEST) -m "not gpu" $(ARGS)

lint: install ## style, docstrings, annotations, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

papers: install ## the table of papers in the README, which the site has too, from docs/papers.yaml and docs/exhibits.md
	$(BIN)/python docs/papers_table.py

docs: $(DOCS_STAMP) ## the site, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install -e '.[docs]'
	@touch $@

bench: install ## the benchmarks; each prints ratios against a reference in the same run
	@for name in overhead dcgan translation loader coulomb; do \
	  echo; echo "== benchmarks/$$name.py"; $(BIN)/python benchmarks/$$name.py || exit 1; \
	done

# Not installed: the machine may have no network. PYTHON=... names another Python than that of .venv.
bench-gpu: ## tests, speeds and quality on one CUDA GPU: 10 minutes; benchmarks/gpu.py says what it needs
	$(or $(PYTHON),$(wildcard $(BIN)/python),python3) benchmarks/gpu.py $(ARGS)

build: install ## wheel and source distribution, into dist/
	$(BIN)/python -m build --no-isolation

clean: ## remove what building, testing and linting left; keeps .venv and runs
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
