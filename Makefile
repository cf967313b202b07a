# `make fit` and `make test` need python3 (3.11 or newer) and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two test processes of one thread each: see docs/performance.md.
TEST_ENV := OMP_NUM_THREADS=1

.PHONY: fit test slow gpu grid lint types clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt -e ".[dev]"
	touch $@

fit: $(VENV)/.installed
	$(BIN)/pyrodgm fit --model tsbn --set model.history=2 --time-limit 150

test: $(VENV)/.installed
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist worksteal

# Every cell of the grid for 20 steps.
slow: $(VENV)/.installed
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

gpu: $(VENV)/.installed
	bash tests/gpu.sh $(BIN)/python

# What docs/grid.txt shows, after a new model or objective.
grid: $(VENV)/.installed
	COLUMNS=100 $(BIN)/pyrodgm list --grid > docs/grid.txt

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/pyright

clean:
	rm -rf $(VENV)
