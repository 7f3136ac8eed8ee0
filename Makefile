# `make demo` and `make test` are all that a fresh machine needs; both begin by making .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
OUT := demo-output

.PHONY: demo test lint format clean

# A clip that the demo model has never met (seed 2113 was in no training), its timeline beside the truth.
demo: $(INSTALLED)
	$(BIN)/avvp synth $(OUT) --clips 1 --seed 2113 --shares 0,0,100 --quiet
	$(BIN)/avvp-parse $(OUT)/videos/s2113200000.mp4 --weights demo --annotations $(OUT)/annotations \
	  -o $(OUT)/events.json --plot $(OUT)/timeline.png --html $(OUT)/report.html
	@echo "Open $(OUT)/report.html to play the clip beside its timeline; events.json and timeline.png lie there, too."

test: $(INSTALLED) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv $(OUT) build *.egg-info

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
