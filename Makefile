# `make demo` and `make test` install everything they need into .venv and run; nothing else is needed but Python.
# Where only the CPU is to be used, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu finds a much smaller torch.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready

.PHONY: demo test coverage lint types format bench docs release clean

demo: $(INSTALLED)
	$(BIN)/adacode doctor
	rm -rf demo
	$(BIN)/adacode sr examples/photos --scale 4 -o demo/sr-x4
	$(BIN)/adacode inpaint examples/scratched --mask-dir examples/masks --grow 2 -o demo/inpaint
	$(BIN)/adacode reconstruct examples/photos -o demo/reconstruct
	$(BIN)/python examples/contact_sheet.py demo

# One process more than cores, of one thread each (tests/conftest.py), because tests also wait for other processes, servers and
# clocks. A process that has run its tests takes over tests of others. JOBS=0: all in one process.
JOBS ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count() + 1)")
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 9 --dist worksteal
test: $(READY)
	$(PYTEST)

# Counting lines and branches makes tests a third slower and more, and no test fails because of it.
coverage: $(READY)
	$(PYTEST) --cov --cov-report=term:skip-covered

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python benchmarks/compact.py

# The documentation as a site, in site/index.html.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Version, tag and a wheel that has been checked: CONTRIBUTING.md.
release: $(READY)
	$(BIN)/python tools/release.py $(VERSION)

clean:
	rm -rf $(VENV) demo recipes build dist site

# What running needs.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# What development needs, too; spandrel without torchvision, which an index may have for CUDA alone.
$(READY): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps spandrel
	touch $@
