# make demo   find the eleven landmarks on a generated MRI; results in demo-output/
# make test   lint, types, import rules and tests
# make docs   the documentation site, into build/docs; without network, and a warning is an error
# make review look at generated studies in the browser and correct their landmarks
# make wheel  the wheel, the same to the last byte wherever the same commit is built, into dist
# make sbom   what is installed for users as CycloneDX, into build/sbom.json
# make fuzz   damaged and odd files for every reader: anything but a result or one line is a finding (FUZZ=100000 inputs)
# make bench  time, memory and size on this machine beside other pipelines and runtimes, into docs/performance.md
#
# The environments are made on first use: .venv for users, .venv-dev for tests and training, .venv-web for the browser
# reviewer, whose slicer-core is not the one that the Slicer module is tested with, .venv-bench for what is measured
# against. `.complete` is written
# when an installation is whole and taken away before one is touched, so that an interrupted one is made anew.

SHELL := /bin/bash
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$python && break; done)
SHIPPED := $(shell find SpineLandmarksLib Resources/Models -type f -not -name '*.pyc' 2>/dev/null)

.PHONY: demo review test test-library test-web docs wheel sbom fuzz bench clean

FUZZ ?= 100000

demo: .venv/.complete
	.venv/bin/spine-landmarks demo --output demo-output

review: .venv-web/.complete
	.venv-web/bin/spine-landmarks review --demo

bench: .venv/.complete .venv-bench/.complete
	.venv-bench/bin/python -m research.bench --environment .venv --document docs/performance.md

test: .venv-dev/.complete .venv-web/.complete
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports
	$(MAKE) --jobs 2 test-library test-web

# Side by side, as each uses about one core; what the second prints comes when it ends.
test-library:
	.venv-dev/bin/python -m pytest -q

test-web:
	@mkdir -p build
	@.venv-web/bin/python -m pytest -q Testing/web > build/test-web.log 2>&1; status=$$?; echo; cat build/test-web.log; exit $$status

docs: .venv-dev/.complete
	.venv-dev/bin/python -m sphinx --builder html --fail-on-warning --keep-going --quiet --jobs 2 docs build/docs
	@echo "build/docs/index.html"

# The wheel is built from what is committed: permissions and times are git's, not this machine's.
BUILD_PYTHON ?= .venv-dev/bin/python
wheel: $(if $(filter .venv-dev/bin/python,$(BUILD_PYTHON)),.venv-dev/.complete)
	rm -rf build/source dist && mkdir -p build/source dist
	umask 022 && git archive HEAD | tar --extract --no-same-permissions --directory build/source
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) SETUPTOOLS_SCM_PRETEND_VERSION=$$($(BUILD_PYTHON) -m setuptools_scm) \
		$(BUILD_PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist build/source
	sha256sum dist/*.whl

sbom: .venv/.complete
	test -x build/sbom-tool/bin/cyclonedx-py || $(PYTHON) -m venv build/sbom-tool
	build/sbom-tool/bin/python -m pip install --quiet cyclonedx-bom==7.5.0
	build/sbom-tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json .venv

fuzz: .venv-dev/.complete
	.venv-dev/bin/python -m research.fuzz --count $(FUZZ) --jobs 2 --keep build/fuzz

clean:
	rm -rf .venv .venv-dev .venv-web .venv-bench build/lib build/bdist.* build/docs build/source build/sbom-tool dist demo-output

.venv/.complete: pyproject.toml constraints.txt $(SHIPPED)
	$(call install,.venv,.)

.venv-dev/.complete: pyproject.toml constraints.txt
	$(call install,.venv-dev,--editable .[gpl-jpeg$(comma)train$(comma)store$(comma)cluster$(comma)docs$(comma)test])

.venv-web/.complete: pyproject.toml constraints.txt
	$(call install,.venv-web,--editable .[review$(comma)review-test])

# landmarker asks for an older scipy and for much that is not used here; it runs without.
.venv-bench/.complete: pyproject.toml constraints.txt
	$(call install,.venv-bench,--editable .[train$(comma)bench])
	@rm $@
	.venv-bench/bin/python -m pip install --quiet --no-deps --constraint constraints.txt landmarker
	@touch $@

comma := ,

# $(1) the environment's folder, $(2) what pip installs into it
define install
	@test -n "$(PYTHON)" || { echo "Expected Python 3.10 or newer with venv; found none. Install it, or name it: make PYTHON=..."; exit 1; }
	@echo "Installing into $(1); the first time takes minutes"
	@test -e $(1)/.complete || { rm -rf $(1) && $(PYTHON) -m venv $(1); }
	@rm -rf $(1)/.complete build/lib  # a module deleted since the last build would still be in build/lib
	$(1)/bin/python -m pip install --quiet --constraint constraints.txt $(2)
	@touch $@
endef
