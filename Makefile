# Each target makes its own set-up first: system libraries (as root), .venv, pinned packages.
.PHONY: help setup lint test demo constraints

help:
	@echo "make demo                   denoise a simulated image in napari"
	@echo "make demo IMAGE=path.tif    denoise your own image in napari"
	@echo "make test                   linters and all tests"
	@echo "make lint                   linters only"
	@echo "make constraints            pin the versions that are in .venv"

setup:
	@scripts/setup.sh

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: lint
	.venv/bin/pytest -n auto --maxprocesses 4 --dist loadfile

demo: setup
	@.venv/bin/python scripts/demo.py $(if $(IMAGE),"$(IMAGE)")

constraints: setup
	@{ echo "# The versions that are tested, written on Python 3.11 by \`make constraints\`."; \
	  .venv/bin/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt
