# Two commands do it all: make demo, make test. Each sets up what it needs, in .venv.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

FEDERATED := .venv-federated

.PHONY: demo test test-all test-federated test-old-cpu lint fuzz release-check tools clean

demo: $(STAMP) tools
	$(BIN)/python examples/digits.py

# one thread a worker: two workers that each take all cores wait for each other
test test-all test-federated test-old-cpu: export OPENBLAS_NUM_THREADS = 1
test test-all test-federated test-old-cpu: export OMP_NUM_THREADS = 1

test: $(STAMP) tools lint
	$(BIN)/pytest -n 2 --dist loadgroup

test-all: $(STAMP) tools lint
	$(BIN)/pytest -n 2 --dist loadgroup -m "slow or not slow"
	$(MAKE) test-federated

# Flower takes older protobuf, rich and typer than all else, so it has an environment of its own, in which the command
# line is tested too; one process, for Ray wants the machine
test-federated: $(FEDERATED)/.installed tools
	$(FEDERATED)/bin/pytest tests/federated tests/cli -m "slow or not slow"

# as on an x86 machine without AVX-512: what can be told to take lesser instructions is, and ONNX Runtime, which cannot, runs
# under QEMU where its integer kernels would differ
OLD_CPU := GRAPHOPT_HOST=x86-64-v2 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem
test-old-cpu: $(STAMP) tools
	$(OLD_CPU) NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR" $(BIN)/pytest -n 2 --dist loadgroup
	qemu-x86_64 -cpu Haswell $(BIN)/python -m pytest -p no:xdist tests/frontends/test_onnx_quantized.py \
	    tests/exporters/test_onnx_integer.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# make fuzz MINUTES=60: what disagrees is reduced and written to fuzz-findings; KINDS are some of files, float and int8,
# TARGETS those of int8: make fuzz MINUTES=60 KINDS=int8 TARGETS="cortex-m0 cortex-m4"
MINUTES ?= 10
fuzz: $(STAMP) tools
	$(BIN)/python -W ignore -m graphopt.testing.fuzz --minutes $(MINUTES) $(if $(KINDS),--kinds $(KINDS)) \
	    $(if $(TARGETS),--targets $(TARGETS))

# the sdist and wheel of the last commit, installed with all that they require for every Python of PATH
release-check: $(STAMP)
	$(BIN)/python scripts/release_check.py

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

$(FEDERATED)/.installed: pyproject.toml
	sh scripts/install-tools.sh python
	python3 -m venv $(FEDERATED)
	$(FEDERATED)/bin/pip install --quiet --upgrade pip
	$(FEDERATED)/bin/pip install --quiet "torch==2.13.0"
	$(FEDERATED)/bin/pip install --quiet --editable ".[federated,testing]" "pytest>=9,<10" "pytest-xdist>=3.8,<4"
	touch $(FEDERATED)/.installed

clean:
	rm -rf $(VENV) $(FEDERATED) build *.egg-info
