# `make` alone lists the targets. Every target that needs Python builds .venv first, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
JAR := build/expansion/expansion.jar
FLINK := build/flink/flink.jar

ONCE ?= 0
SAMPLE ?= 1
KEEP ?= 0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

##@ Start

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(READY) ## The whole pipeline on this machine (ONCE=1 ends after the sample, SAMPLE=0 feeds none, KEEP=1 keeps the data)
	$(BIN)/python -m local run $(if $(filter 1,$(ONCE)),--once) $(if $(filter 0,$(SAMPLE)),--no-sample) $(if $(filter 1,$(KEEP)),--keep)

.PHONY: test
test: $(READY) check $(JAR) chromium ## Every test but those of test-sinks, on the real emulators (needs Java, the emulators and Chromium)
	$(BIN)/python -m pytest -q --ignore=tests/sinks

.PHONY: check
check: $(READY)
	@$(BIN)/python -m local check

##@ Work

.PHONY: venv
venv: $(READY) ## Build .venv from constraints.txt (done by every target that needs it)

$(READY): constraints.txt setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.11" % v)'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[publisher,pipeline,dev]'
	touch $(READY)

.PHONY: lint
lint: $(READY) ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: test-unit
test-unit: $(READY) ## The tests that need Python only
	$(BIN)/python -m pytest -q -m 'not emulators'

.PHONY: docs
docs: $(READY) ## Make docs/values.md and the Flex Template's metadata from the code again
	$(BIN)/python -m schemas.values_page > docs/values.md
	$(BIN)/python -m pipeline.flex_metadata > deploy/flex/metadata.json

.PHONY: expansion
expansion: $(JAR) ## Beam's Java sink as one jar (Maven; some minutes the first time)

$(JAR): deploy/expansion/pom.xml
	@command -v mvn >/dev/null || { echo "Maven is needed to build Beam's Java sink: apt-get install maven" >&2; exit 1; }
	mvn --batch-mode --quiet --file deploy/expansion/pom.xml package
	touch $(JAR)

.PHONY: flink
flink: $(FLINK) ## Flink as one jar, for `make bench BENCH=streams` (Maven; a minute the first time)

$(FLINK): bench/streams/pom.xml
	@command -v mvn >/dev/null || { echo "Maven is needed to build Flink's jar: apt-get install maven" >&2; exit 1; }
	mvn --batch-mode --quiet --file bench/streams/pom.xml package
	touch $(FLINK)

.PHONY: chromium
chromium: # The browser of the page's tests; root on Debian gets it by itself
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  { echo "Chromium is needed to test the page: apt-get install chromium" >&2; exit 1; }

.PHONY: clean
clean: ## Remove what is generated, .venv too
	rm -rf build $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

##@ Prove

.PHONY: test-sinks
test-sinks: $(READY) check $(JAR) ## Both sinks: every type, every bad content, faults; Beam's Java sink at work (five minutes)
	$(BIN)/python -m pytest -q tests/sinks

.PHONY: fire
fire: $(READY) ## The native sink under every fault that is known, against a model (ten minutes)
	$(BIN)/python -m bench.fire

.PHONY: chaos
chaos: $(READY) ## 20,000 events under kills and outages, accounted for by set (two minutes)
	$(BIN)/python -m bench.chaos

.PHONY: chaos-publisher
chaos-publisher: $(READY) ## The publisher under faults, kills, a long outage and a flood, accounted for by set (seven minutes)
	$(BIN)/python -m bench.publisher.chaos
	$(BIN)/python -m bench.publisher.overload

.PHONY: bench-publisher
bench-publisher: $(READY) ## The publisher beside the earlier service and functions-framework (five minutes)
	$(BIN)/python -m bench.publisher

.PHONY: fuzz
fuzz: $(READY) ## 1,000,000 mutated messages through decode and shape, guided by coverage (ten minutes)
	$(BIN)/python -m bench.fuzz

.PHONY: judge
judge: ## Record again what the Firebase extension makes of the recorded events (Node.js 20 and npm)
	node tests/judge/record.js

.PHONY: bench
bench: $(READY) check $(JAR) $(FLINK) ## Throughput, latency and memory, as a table and in build/bench (an hour; BENCH=steps runs one)
	$(BIN)/python -m bench $(BENCH)
