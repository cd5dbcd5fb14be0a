# The commands people need: `make run`, `make test`. Everything is installed into .venv and written below var/.

PORT ?= 8501
VENV := .venv
FLOWER := .venv-flower
PY := $(VENV)/bin/python
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
export PYTHONDONTWRITEBYTECODE :=
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help run test bench test-flower flower-demo check docs screenshots licences sbom audit lock clean

help:
	@echo "make run       install what is needed, set up, start at http://localhost:$(PORT) (https with HEMASEAL_TLS_CERT)"
	@echo "make test      set up what the tests need, then lint, type check and test"
	@echo "make bench     run the quick benchmarks; fails where a ratio is over 20 % below benchmarks/ratios.json"
	@echo "make test-flower  the tests against Flower, in an environment of their own ($(FLOWER))"
	@echo "make flower-demo  a federated run over Flower on this machine: TLS, one process for each hospital"
	@echo "make check     lint and type check only"
	@echo "make docs      write what docs/ takes from the code: modules, settings, commands, error codes, policy"
	@echo "make screenshots  take the pictures of docs/screenshots from a demonstration made for them"
	@echo "make licences  list the licences of all third-party packages"
	@echo "make sbom      write sbom.cdx.json, the bill of materials of what is installed (CycloneDX)"
	@echo "make audit     ask PyPI and OSV about vulnerabilities of the pinned packages; says so if nobody answers"
	@echo "make lock      resolve requirements*.txt into the lock files again"
	@echo "make clean     remove the virtual environment and caches (var/ stays)"

run: $(VENV)/.installed
	@$(PY) -m core setup
	@exec $(PY) -m core serve --port $(PORT)

test: $(VENV)/.installed-dev
	@$(PY) -m tests.environment $(ARGS)

bench: $(VENV)/.installed-dev
	@$(PY) -m benchmarks.guard $(ARGS)

test-flower: $(FLOWER)/.installed
	@FLWR_TELEMETRY_ENABLED=0 $(FLOWER)/bin/python -m pytest --confcutdir=tests/flower \
		-W ignore::DeprecationWarning tests/flower $(ARGS)

flower-demo: $(VENV)/.installed $(FLOWER)/.installed
	@$(PY) -m federated.transport.flower --binaries $(FLOWER)/bin $(ARGS)

check: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: $(VENV)/.installed-dev
	@$(PY) -m tests.module_lines
	@$(PY) -m tests.reference_pages

screenshots: $(VENV)/.installed-dev
	@$(PY) -m tests.screenshots $(ARGS)

licences: $(VENV)/.installed-dev
	@$(VENV)/bin/pip-licenses --order=license --format=markdown --with-urls

sbom: $(VENV)/bin/uv
	@$(VENV)/bin/uv tool run -q --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.lock \
		--output-reproducible -o sbom.cdx.json \
		|| { echo "sbom.cdx.json was not written: its tool could not be had or failed (see above)."; exit 1; }
	@echo "sbom.cdx.json: $$(grep -c '"bom-ref"' sbom.cdx.json) entries"

audit: $(VENV)/bin/uv
	@$(PY) -m tests.advisories $(VENV)/bin/uv requirements.lock requirements-flower.lock

lock: $(VENV)/bin/uv
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade -q \
		--custom-compile-command "make lock" requirements.txt -o requirements.lock
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade -q \
		--custom-compile-command "make lock" requirements-dev.txt -c requirements.lock -o requirements-dev.lock
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade -q \
		--custom-compile-command "make lock" requirements-flower.txt -o requirements-flower.lock

clean:
	rm -rf $(VENV) $(FLOWER) .pytest_cache .mypy_cache .ruff_cache .hypothesis test-artifacts

$(VENV)/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and was not found."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is another version. Set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m pip install -q virtualenv && $(PYTHON) -m virtualenv -q $(VENV); }
	@$(PY) -m pip install -q "uv>=0.9,<1"

$(VENV)/.installed: requirements.lock | $(VENV)/bin/uv
	@echo "Installing packages (once, a minute or two) ..."
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv pip install -q --require-hashes --compile-bytecode -r requirements.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv pip install -q --require-hashes --compile-bytecode -r requirements-dev.lock
	@touch $@

$(FLOWER)/.installed: requirements-flower.lock | $(VENV)/bin/uv
	@echo "Installing Flower into $(FLOWER) (once) ..."
	@$(VENV)/bin/uv venv -q --allow-existing --python $(PY) $(FLOWER)
	@VIRTUAL_ENV=$(CURDIR)/$(FLOWER) $(VENV)/bin/uv pip install -q --require-hashes -r $< \
		|| { echo "$< could not be installed: the tests against Flower did not run."; exit 1; }
	@touch $@
