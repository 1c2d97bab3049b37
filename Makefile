# Every command of the project: CI runs the same targets as a developer. `make` lists them.

CACHE ?= $(HOME)/.cache/vdi-metrics
CARGO_DENY := $(CACHE)/tools/bin/cargo-deny
CARGO_DENY_VERSION := 0.20.2
CARGO_CYCLONEDX := $(CACHE)/tools/bin/cargo-cyclonedx
CARGO_CYCLONEDX_VERSION := 0.5.9

SERVER := --no-default-features --features webhook --bin vdi-metrics
SIDECAR := --no-default-features --features sidecar --bin vdi-metrics-sidecar
NODE := --no-default-features --features node --bin vdi-metrics-node

# All build output goes here; images and sizes read it from here.
export CARGO_TARGET_DIR := $(CURDIR)/target
export VDI_METRICS_CACHE := $(CACHE)
# `IMAGES=built`: tests and measurements use the images that `make image` has saved.
export VDI_METRICS_IMAGES := $(IMAGES)
export VDI_METRICS_REVISION ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)

FUZZ_INPUTS ?= 10000000

IMAGE := $(if $(filter built,$(IMAGES)),image)

.DEFAULT_GOAL := help
.PHONY: help demo test suite structure fuzz cluster chaos gpu traces testbed images image reproducible format lint doc deny advisories sbom sizes bench

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Show the main job on this machine; needs no cluster and no GPU
	@echo "Building (a few minutes the first time) ..."
	@cargo build --bins
	@cargo run --quiet --example demo

test: suite cluster ## Run every test that needs no GPU

suite: ## Run the hermetic tests; needs only Rust
	cargo test --workspace --lib --bins --test suite

structure: ## Print lines per folder, imports between modules and the length of functions
	cargo test --quiet --test suite structure::listing -- --ignored --nocapture

fuzz: ## Test what reads reviews, reports, dumps, cgroups and messages with ten million mutated inputs (FUZZ_INPUTS=10000000)
	RUSTC_WRAPPER=$(CURDIR)/tests/fuzz/instrument cargo run --profile fuzz --package fuzz -- $(FUZZ_INPUTS)

cluster: $(IMAGE) ## Run the tests on a real Kubernetes on this machine; needs Go and root (REQUIRE_CLUSTER=1: fail instead of skip; IMAGES=built: with the images of the Dockerfile)
	cargo test --test cluster

chaos: ## Kill leaders 50 times under 2,000 sessions and compare every counter; 15 minutes at most (CHAOS_SEED=1 repeats a run)
	cargo test --test cluster --no-run
	CHAOS_SESSIONS=2000 CHAOS_KILLS=50 REQUIRE_CLUSTER=1 timeout 900 cargo test --test cluster -- ledger::chaos

gpu: ## Test the sidecar with a real driver (REQUIRE_GPU=1: fail instead of skip)
	cargo test --test gpu

traces: $(IMAGE) ## Check that an interrupted cluster suite leaves nothing behind on this machine
	tests/cluster/leaves-nothing "$$(cargo test --test cluster --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$$/\1/p')"

testbed: ## Build Kubernetes and Prometheus for the tests from pinned Go modules, and unpack a VNC server, once
	tests/testbed/build
	tests/testbed/desktop/build || test $$? = 3

images: ## Build the programs for the images, each with its own feature only
	cargo build --release $(SERVER)
	cargo build --profile sidecar $(SIDECAR)
	cargo build --profile sidecar $(NODE)

image: ## Build the images of the Dockerfile with buildah and check their files, size, user and start; needs root
	images/build target/images server sidecar node

reproducible: image ## Build the sidecar's image again without a cache; fails if the two archives differ
	images/build --without-cache target/images/again sidecar
	cmp target/images/sidecar.tar target/images/again/sidecar.tar

format: ## Format the sources
	cargo fmt --all

lint: ## Check format and lints, for each feature set alone
	cargo fmt --all --check
	cargo clippy --locked --no-default-features --features sidecar --lib --bins -- -D warnings
	cargo clippy --no-default-features --features webhook --lib --bins -- -D warnings
	cargo clippy --no-default-features --features node --lib --bins -- -D warnings
	cargo clippy --workspace --all-targets -- -D warnings

doc: ## Build the documentation; fails on a broken link
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

deny: $(CARGO_DENY) ## Check licences, bans and sources of every dependency
	$(CARGO_DENY) --log-level error check bans licenses sources

advisories: $(CARGO_DENY) ## Check every dependency for known vulnerabilities; downloads the RustSec database and fails without it
	$(CARGO_DENY) --log-level error check advisories

sbom: $(CARGO_CYCLONEDX) ## Write the bill of materials of each program into target/sbom, in the format of CycloneDX
	tests/sbom $(CARGO_CYCLONEDX)

$(CARGO_CYCLONEDX):
	cargo install --locked --quiet --root $(CACHE)/tools cargo-cyclonedx@$(CARGO_CYCLONEDX_VERSION)

$(CARGO_DENY):
	cargo install --locked --quiet --root $(CACHE)/tools cargo-deny@$(CARGO_DENY_VERSION)

sizes: $(or $(IMAGE),images) ## Measure crates, binary sizes, resident sizes and CPU; fails above the budgets
	cargo build --package fake_nvml
	tests/sizes

bench: images ## Compare the cost of the sidecar, the node agent and a review with alternatives; needs Go, root and an idle machine (PARTS=node)
	cargo bench --package cost -- $(PARTS)
