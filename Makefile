# Every target sets up what it needs; `make help` lists them.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
DEBIAN_PACKAGES := chromium curl fonts-dejavu-core lbzip2 nginx-light systemd xz-utils
BENCH_PACKAGES := curl lbzip2 nginx-light pbzip2 pigz rclone wrk xz-utils
SCREENSHOT_PACKAGES := chromium fonts-dejavu-core lbzip2
GSUTIL := .venv-gsutil

.PHONY: help demo test fuzz bench paint screenshots check format clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(VENV)/ready: setup.py pyproject.toml
	@echo "Setting up $(VENV), with all that tests and checks need: this takes some minutes ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The demonstration needs little of that: where the other is not there, it has a small environment of its own.
DEMO_VENV := $(if $(wildcard $(VENV)/ready),$(VENV),.venv-demo)

.venv-demo/ready: setup.py
	@echo "Setting up .venv-demo, with the devserver and a storage emulator: this takes about a minute ..."
	@$(PYTHON) -m venv .venv-demo
	@.venv-demo/bin/pip install --quiet --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

demo: $(DEMO_VENV)/ready ## stage a build from an emulated Google Cloud Storage; DEMO_ARGS=--once ends by itself
	$(DEMO_VENV)/bin/python -m demo $(DEMO_ARGS)

test: $(VENV)/ready ## run the tests; TEST_ARGS goes to pytest
	./debian-packages $(DEBIAN_PACKAGES)
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest --numprocesses 2 --cov --cov-report= $(TEST_ARGS)
	$(BIN)/coverage report

fuzz: $(VENV)/ready ## ask the JSON API some thousands of questions, and hold the answers to its OpenAPI document
	API_EXAMPLES=300 $(BIN)/python -m pytest --capture=no tests/test_api_document.py

# gsutil has an environment of its own: what it pins is not what the devserver needs.
$(GSUTIL)/ready:
	@echo "Setting up $(GSUTIL) ..."
	@$(PYTHON) -m venv $(GSUTIL)
	@$(GSUTIL)/bin/pip install --quiet --quiet --disable-pip-version-check gsutil
	@touch $@

bench: $(VENV)/ready $(GSUTIL)/ready ## measure beside gsutil, rclone and curl; BENCH_ARGS=--quick, "--only build", ...
	./debian-packages $(BENCH_PACKAGES)
	$(BIN)/python -m bench $(BENCH_ARGS)

screenshots: $(VENV)/ready ## take pictures of every page, for the documents; SCREENSHOT_ARGS="--only front", ...
	./debian-packages $(SCREENSHOT_PACKAGES)
	$(BIN)/python -m screenshots $(SCREENSHOT_ARGS)

paint: $(VENV)/ready ## measure how soon a browser shows the front page with a thousand builds
	./debian-packages $(SCREENSHOT_PACKAGES)
	$(BIN)/python -m bench.first_paint $(PAINT_ARGS)

check: $(VENV)/ready ## lint, types, format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/ready ## put the code into its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what the other targets made
	rm -rf $(VENV) .venv-demo build *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis
