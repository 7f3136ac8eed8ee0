# `make demo` and `make test` are all that a fresh machine needs; both begin by making .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
OUT := demo-output

.PHONY: demo test lint format clean

demo: $(INSTALLED)
	mkdir -p $(OUT)
	"$$($(BIN)/python -c 'import imageio_ffmpeg as f; print(f.get_ffmpeg_exe())')" -y -loglevel error \
	  -f lavfi -i testsrc2=size=320x240:rate=25:duration=10 \
	  -f lavfi -i "sine=frequency=440:beep_factor=4:duration=10" \
	  -c:v libx264 -pix_fmt yuv420p -c:a aac $(OUT)/clip.mp4
	$(BIN)/avvp-parse $(OUT)/clip.mp4 --weights untrained -o $(OUT)/events.json
	@echo "The timeline above is in $(OUT)/events.json."

test: $(INSTALLED) lint
	$(BIN)/python -m pytest

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
