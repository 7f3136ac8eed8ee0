# `make demo` and `make test` are all that a fresh machine needs; both begin by making .venv.
PYTHON ?= python3
BIN := .venv/bin
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
DOCS := .venv/.installed-docs
OUT := demo-output
# Every editable install warns that it is one; other warnings are shown.
PIP := PYTHONWARNINGS="ignore:Editable installation" $(BIN)/python -m pip

.PHONY: demo test test-fast lint format docs wheel clean

# A clip that the demo model has never met (seed 2113 was in no training), its timeline beside the ground truth.
demo: $(RUN)
	@echo "== 1 of 2: generate a clip with known events"
	$(BIN)/avvp synth $(OUT) --clips 1 --seed 2113 --shares 0,0,100 --quiet
	@echo "== 2 of 2: parse it with the small demo model and print its timeline beside the ground truth"
	$(BIN)/avvp-parse $(OUT)/videos/s2113200000.mp4 --weights demo --annotations $(OUT)/annotations \
	  -o $(OUT)/events.json --plot $(OUT)/timeline.png --html $(OUT)/report.html
	@echo
	@echo "Open in a browser: $(OUT)/report.html (the clip plays beside its timeline)"

test: $(DEV) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Without the full-size networks, the browser, Ray and the installed wheel.
test-fast: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not full_size and not browser and not ray and not wheel"

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of docs/ with the Python interface as a site that works without a network: build/docs/index.html.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# dist/avvp-VERSION-py3-none-any.whl, for `pip install`.
wheel: $(RUN)
	rm -rf build dist
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf .venv $(OUT) build dist *.egg-info

$(RUN): pyproject.toml
	@echo "== installing avvp and what it needs into .venv: torch and others, some GB, a few minutes the first time"
	$(PYTHON) -m venv .venv
	$(PIP) install --upgrade pip
	$(PIP) install --editable .
	@$(link_package)
	touch $@

$(DEV): $(RUN)
	@echo "== installing what the tests need: linters, ray, transformers, playwright"
	$(PIP) install --editable '.[dev]'
	touch $@

$(DOCS): $(RUN)
	$(PIP) install --editable '.[docs]'
	touch $@

# Editable installs map `avvp` to the folders by an import hook, which editors and type checkers cannot follow: the
# same mapping again, as links.
define link_package
site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && mkdir -p "$$site/avvp" && \
  ln -sfn $(CURDIR)/pipeline/public/* $(CURDIR)/pipeline $(CURDIR)/extractors $(CURDIR)/models $(CURDIR)/weights "$$site/avvp"
endef
