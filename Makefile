# Two commands do it all: make demo, make test. Each sets up what it needs, in .venv.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-all lint fuzz tools clean

demo: $(STAMP) tools
	$(BIN)/python examples/digits.py

# one thread a worker: two workers that each take all cores wait for each other
test test-all: export OPENBLAS_NUM_THREADS = 1
test test-all: export OMP_NUM_THREADS = 1

test: $(STAMP) tools lint
	$(BIN)/pytest -n 2

test-all: $(STAMP) tools lint
	$(BIN)/pytest -n 2 -m "slow or not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# make fuzz MINUTES=60: what disagrees is reduced and written to fuzz-findings
MINUTES ?= 10
fuzz: $(STAMP) tools
	$(BIN)/python -W ignore -m graphopt.testing.fuzz --minutes $(MINUTES)

tools:
	sh scripts/install-tools.sh

# torch goes first and by itself: an open range would take a build with gigabytes of CUDA
$(STAMP): pyproject.toml
	sh scripts/install-tools.sh python
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "torch==2.13.0"
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info
