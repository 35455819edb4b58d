# `make` or `make help` says what there is. The work is in scripts/ and in cargo; this file only names it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build run test bench fuzz arm64 arm64-image fmt lint generate web clean

export PATH := $(CURDIR)/.cache/tools/bin:$(PATH)

MANIFESTS ?= examples/quickstart.yaml
LISTEN ?= 127.0.0.1:8080
DATA ?= data
FUZZ_SECONDS ?= 60
FUZZ_TARGET ?=

build: ## Build the page and the program (target/release/camera-operator)
	@scripts/install.sh run
	@scripts/page.sh
	@cargo build --release --locked

run: ## Build, then run examples/quickstart.yaml: live picture, recording and page on http://127.0.0.1:8080 (MANIFESTS=, LISTEN=, DATA=)
	@scripts/install.sh run
	@scripts/page.sh
	@cargo build --quiet --locked
	@echo "Starting with $(MANIFESTS); in a moment, look at http://$(LISTEN)/  (Ctrl-C stops)"
	@exec target/debug/camera-operator run -f $(MANIFESTS) --listen $(LISTEN) --data $(DATA)

test: ## Everything: format, lints, page, generated files, unit and end-to-end tests with real peers
	@scripts/install.sh test
	@scripts/test.sh

bench: ## The benchmarks: beside a bare FFmpeg and nginx, the operator on an API server, alerts beside Alertmanager (docs/benchmarks.md)
	@scripts/install.sh test
	@cargo bench --locked --bench run
	@cargo bench --locked --bench run -- --ceiling
	@cargo bench --locked --bench serve
	@cargo bench --locked --bench cluster
	@cargo bench --locked --bench alerts
	@cargo bench --locked --bench slate
	@cargo bench --locked --bench transcode -- --output docs/benchmarks/transcode.md

fuzz: ## Look for bytes that break the readers of media and indexes; make test replays what was found (FUZZ_SECONDS=, FUZZ_TARGET=)
	@scripts/install.sh fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS) $(FUZZ_TARGET)

arm64: ## Build the program for 64-bit ARM and run it, emulated
	@scripts/install.sh arm64
	@scripts/arm64.sh

arm64-image: ## The same in the image for 64-bit ARM, with its FFmpeg (root; minutes)
	@scripts/install.sh arm64
	@scripts/arm64.sh image

fmt: ## Format the Rust code
	@cargo fmt --all

lint: ## Clippy, and licences, banned crates and sources where cargo-deny is installed (scripts/install.sh lint)
	@scripts/lint.sh

generate: ## Write the files that are generated from the code (crds/, docs/openapi.json, docs/api-reference.md)
	@scripts/generate.sh

web: ## Build the page into web/dist
	@scripts/install.sh page
	@scripts/page.sh --require

clean: ## Remove what was built; recordings in data/ stay
	@rm -rf target web/dist web/node_modules

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
