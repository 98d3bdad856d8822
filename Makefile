# The commands of the project. Each creates the environment it needs; `make demo` and `make test` are all that most people want.
TORCH ?= torch==2.13.0
PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin

.PHONY: demo test lint bench clean torch

demo: $(ENV)/installed
	$(BIN)/gen3d photos tests/data/buddha --preset draft --fitting.sh-degree 0 --out outputs/demo --overwrite

test: $(ENV)/developed
	$(BIN)/python -m pytest

lint: $(ENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typed
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --target build/typed .
	cd build && MYPYPATH=typed ../$(BIN)/mypy --config-file ../pyproject.toml -p gen3d

bench: $(ENV)/developed
	$(BIN)/python tests/benchmarks/raster_scaling.py
	$(BIN)/python tests/benchmarks/fit_budget.py
	$(BIN)/python -m pytest tests/benchmarks -o addopts=--import-mode=importlib --benchmark-only

clean:
	rm -rf $(ENV) build dist

# torch first and pinned, so that nothing chooses another build; TORCH=... names yours.
$(ENV)/installed: pyproject.toml setup.py $(wildcard renderers/native/*.cpp renderers/native/*.h renderers/native/*.map) renderers/native/source.py
	$(PYTHON) -m venv $(ENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[mesh]'
	touch $@

$(ENV)/developed: $(ENV)/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

torch:
	@echo $(TORCH)
