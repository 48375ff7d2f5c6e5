# Two commands on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
VENV   := .venv
PY     := $(VENV)/bin/python
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help test lint quickstart quickstart-data pretrain-tiny demo clean

help:  ## what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: requirements.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check -q -r requirements.txt -c requirements.lock
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	$(PY) -m pip install --disable-pip-version-check -q -r requirements-dev.txt -c requirements.lock
	@touch $@

lint: $(VENV)/.ready-dev  ## style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: lint  ## style, types and tests (CPU, offline)
	$(PY) -m pytest $(ARGS)

quickstart: $(VENV)/.ready  ## fine-tune and evaluate a small model on both tasks, a few minutes on CPU
	$(PY) -m minigpt4.quickstart $(ARGS)

quickstart-data: $(VENV)/.ready  ## only make the quick start's pictures and questions (data/tiny)
	$(PY) -m minigpt4.datasets.tiny --out data/tiny --parts vivqa mvtec $(ARGS)

pretrain-tiny: $(VENV)/.ready  ## make the small pre-trained checkpoint again (ckpt/tiny; about an hour)
	$(PY) -m minigpt4.quickstart.pretrain $(ARGS)

demo: $(VENV)/.ready  ## the quick-start model in a browser
	@test -f quickstart/vivqa.pth -a -f quickstart/mvtec.pth || \
	  { echo "error: quickstart/*.pth are missing: run make quickstart first"; exit 4; }
	$(PY) demo_v2.py --cfg-path eval_configs/tiny_demo.yaml $(ARGS)

clean:  ## remove what runs made (not data, not .venv)
	rm -rf quickstart eval_outputs minigpt4/*outputs .pytest_cache .mypy_cache .ruff_cache
