PYTHON ?= python3
BIN := .venv/bin
# One thread a process: the models are small, and results are then equal on any machine's load.
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test check bench docs clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/seqvae train japanese-vowels-cmi --out runs/demo --force

test: install
	$(BIN)/python -m pytest -n 2 -q

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only -q

docs: install
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv runs .hypothesis .mypy_cache .ruff_cache .pytest_cache
