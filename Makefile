# The one command surface: what CI runs is what a developer types. `make` lists the targets.

CACHE ?= $(HOME)/.cache/vdi-metrics
CARGO_DENY := $(CACHE)/tools/bin/cargo-deny
CARGO_DENY_VERSION := 0.20.2

SERVER := --no-default-features --features webhook --bin vdi-metrics
SIDECAR := --no-default-features --features sidecar --bin vdi-metrics-sidecar

# One place for everything that is built: the images and the sizes are taken from there.
export CARGO_TARGET_DIR := $(CURDIR)/target
export VDI_METRICS_CACHE := $(CACHE)
export VDI_METRICS_REVISION ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)

FUZZ_INPUTS ?= 10000000

.DEFAULT_GOAL := help
.PHONY: help demo test suite fuzz cluster gpu traces testbed images format lint doc deny sizes bench certificate

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Show the main job on this machine: no cluster and no GPU needed
	@echo "Building (a few minutes the first time) ..."
	@cargo build --bins
	@cargo run --quiet --example demo

test: suite cluster ## Set up and pass every test that needs no GPU

suite: ## The hermetic tests: nothing but Rust
	cargo test --workspace --lib --bins --test suite

fuzz: ## Admission under ten million reviews that nobody would write, guided by coverage (FUZZ_INPUTS)
	RUSTC_WRAPPER=$(CURDIR)/tests/fuzz/instrument cargo run --profile fuzz --package fuzz -- $(FUZZ_INPUTS)

cluster: ## The real Kubernetes on this machine: Go and root (REQUIRE_CLUSTER=1: a skip is a failure)
	cargo test --test cluster

gpu: ## The sidecar beside a real driver (REQUIRE_GPU=1: its absence is a failure)
	cargo test --test gpu

traces: ## That an interrupted cluster suite leaves no trace on this machine
	tests/cluster/leaves-nothing "$$(cargo test --test cluster --no-run 2>&1 | sed -n 's/.*(\(.*\))$$/\1/p')"

testbed: ## Build the real Kubernetes and Prometheus from pinned Go modules, once
	tests/testbed/build

images: ## Build what the images hold, each program with its own feature alone
	cargo build --release $(SERVER)
	cargo build --profile sidecar $(SIDECAR)

format: ## Format the sources
	cargo fmt --all

lint: ## Format and lints, for each feature set alone
	cargo fmt --all --check
	cargo clippy --locked --no-default-features --features sidecar --lib --bins -- -D warnings
	cargo clippy --no-default-features --features webhook --lib --bins -- -D warnings
	cargo clippy --workspace --all-targets -- -D warnings

doc: ## The documentation, without a broken link
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

deny: $(CARGO_DENY) ## Licences, bans and sources of every dependency
	$(CARGO_DENY) --log-level error check bans licenses sources

$(CARGO_DENY):
	cargo install --locked --quiet --root $(CACHE)/tools cargo-deny@$(CARGO_DENY_VERSION)

sizes: images ## Crates, binary sizes and resident sizes of both programs
	cargo build --package fake_nvml
	tests/sizes

bench: images ## What the sidecar takes and what a review costs, beside what else could be used: Go, root and an otherwise idle machine (PARTS=sidecar)
	cargo bench --package cost -- $(PARTS)

certificate: ## A self-signed certificate for the server of the current kubectl context
	certs/self-signed.sh
