# One command for each thing a developer does. `make build` makes what the others need.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYO3_PYTHON := $(BIN)/python
export PYO3_PYTHON
# The build backend is called by name.
export PATH := $(BIN):$(PATH)
# Rooms of the package that people import.
ROOMS := agent client document errors policy testing trace
LIBDIR = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')

.PHONY: build demo bench bench-starts bench-diff bench-policy format lint types test test-rust test-python docs portable targets programs kills systemd faults mutants regenerate errors clean

$(VENV)/made: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --group dev
	touch $@

build: $(VENV)/made
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[grpc,otlp]'

format: $(VENV)/made
	cargo fmt --all
	$(BIN)/ruff format python tests tools examples bench
	$(BIN)/ruff check --fix python tests tools examples bench

lint: build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p cmdop-host --features portable --lib --test portable -- -D warnings
	$(BIN)/ruff format --check python tests tools examples bench
	$(BIN)/ruff check python tests tools examples bench
	$(BIN)/lint-imports

types: build
	$(BIN)/pyright

test: test-python test-rust

# The core is built as it is for Python, so that both suites share one build. What is random is the same each
# time: other seeds are tried by `programs`, `kills` and `faults`, or by a CMDOP_SEED of your own.
test-rust: export CMDOP_SEED := $(or $(CMDOP_SEED),1)
test-rust: export PROPTEST_RNG_SEED := $(CMDOP_SEED)
test-rust: build
	LD_LIBRARY_PATH=$(LIBDIR) cargo test --workspace
	$(MAKE) portable

test-python: build
	$(BIN)/python -m pytest -q

# The host of macOS and Windows, built and run on Linux, attached to a real server.
portable:
	cargo test -p cmdop-host --features portable --lib --test portable

# The same against the standard libraries of macOS and Windows; twelve minutes of processor time the first time.
targets:
	tools/check_targets.sh

# Random programs, previewed and run directly. CMDOP_SEED and CMDOP_FIRST choose which.
programs:
	CMDOP_PROGRAMS=$(or $(PROGRAMS),2000) cargo test -p cmdop-host --test programs

# Kills at any point of a commit, as root and as an ordinary user; losses of power, as root; and kills of server and
# host together, of which there are 60 unless KILLS says otherwise: each takes seconds.
kills: build
	CMDOP_KILLS=$(or $(KILLS),500) cargo test -p cmdop-host --test kills
	CMDOP_LOSSES=$(or $(KILLS),500) cargo test -p cmdop-host --test power
	CMDOP_KILLS=$(or $(KILLS),60) $(BIN)/python -m pytest -q -s tests/failure/test_killed.py

# Services that the real systemd keeps, in a container made of namespaces. As root, with the package `systemd`.
systemd: build
	$(BIN)/python -m pytest -q tests/server/systemd_services.py

# Every call of a commit fails, with every error of a disk.
faults:
	for seed in 0 1 2 3; do CMDOP_STRIDE=1 CMDOP_SEED=$$seed cargo test -p cmdop-host --test faults || exit 1; done

# Mutated commands are resolved without a panic or a hang, unoptimised so that no overflow passes, on a processor that
# nobody else wants. CMDOP_SEED chooses which.
mutants:
	CMDOP_MUTANTS=$(or $(MUTANTS),1000000) chrt -i 0 cargo test -p cmdop-policy --test hostile mutants_of_everyday -- --nocapture

# The reference, for who reads or extends: target/doc/cmdop_contract/index.html, target/doc/python/index.html.
docs: build
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	$(BIN)/pdoc --output-directory target/doc/python --docformat google $(addprefix cmdop.,$(ROOMS))

# Shows the loop on a fixture. ASK=1 lets you decide what is held.
demo: build
	$(BIN)/python examples/demo.py $(if $(ASK),--ask)

# Figures side by side with their baselines and floors; a few minutes. ARGUMENTS="--rounds 1" is quick.
bench: build
	$(BIN)/pip install --quiet --group bench
	cargo build --release -p cmdop-bench
	$(BIN)/python bench/run.py $(ARGUMENTS)

# What confining a command costs, beside bubblewrap.
bench-starts: build
	cargo build --release -p cmdop-bench
	$(BIN)/python bench/starts.py $(ARGUMENTS)

# What deciding on a command costs: resolution, prediction with the vocabulary, what is remembered, decision.
bench-policy: build
	cargo build --release -p cmdop-bench
	PYO3_BUILD_EXTENSION_MODULE=1 cargo build --release -p cmdop-py
	$(BIN)/python bench/policy.py $(ARGUMENTS)

# What it costs to measure, commit and undo what a command changed.
bench-diff: build
	cargo build --release -p cmdop-bench
	$(BIN)/python bench/diff.py $(ARGUMENTS)

# Writes everything that derives from proto/.
regenerate: $(VENV)/made
	CMDOP_REGENERATE=1 cargo test -p cmdop-contract --test generated
	CMDOP_REGENERATE=1 cargo test -p cmdop-link --test generated
	$(BIN)/python tools/regenerate.py

# What commands are answered, for the pages of the reasons. As root: it starts hosts on fixtures.
errors: build
	$(BIN)/python tools/error_examples.py
	$(BIN)/python tools/regenerate.py

clean:
	rm -rf target $(VENV) python/cmdop/*.so
