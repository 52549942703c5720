# `make run` starts the backend, `make test` runs every check; both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTS ?= tests

.PHONY: run test stack secrets bench dashboards pictures lock clean

run: $(VENV)/run.stamp
	$(BIN)/aoss serve

test: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	-$(BIN)/python -m tests.support.stack.programs
	$(BIN)/pytest $(TESTS)

# Prometheus, Alertmanager, VictoriaMetrics and the Collector, built into a cache; tests of one that cannot be had are skipped.
stack: $(VENV)/dev.stamp
	$(BIN)/python -m tests.support.stack.programs

# What docker-compose.yml mounts; what is there stays.
secrets:
	sh secrets/make

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks plot

# grafana/dashboards, from the catalogue.
dashboards: $(VENV)/dev.stamp
	$(BIN)/python -m grafana

# docs/pictures: the console as Chromium shows it, and the last benchmark.
pictures: $(VENV)/dev.stamp
	$(BIN)/python -m tests.browser.screenshot
	$(BIN)/python -m benchmarks plot

# Rewrites the lock files from pyproject.toml with the newest releases that fit.
lock: $(VENV)/dev.stamp
	$(BIN)/uv pip compile $(LOCK_FLAGS) --extra build -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile $(LOCK_FLAGS) --extra build --extra dev -o requirements-dev.lock pyproject.toml

LOCK_FLAGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

$(VENV)/run.stamp: requirements.lock pyproject.toml $(VENV)/made.stamp
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml $(VENV)/made.stamp
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# Cleared first: where python3-venv was missing, half an environment was left behind.
$(VENV)/made.stamp:
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

clean:
	rm -rf $(VENV)
