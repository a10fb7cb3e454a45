# What one may run here. Each recipe first sets up what it needs, so that it works on a fresh machine
# with Rust, gcc, make, Python and Node. The continuous integration (.ci/run) calls the same recipes.

CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
FUZZ_SECONDS ?= 60
# The tests start this binary, built once, in the same profile as they are.
export CATENA_BIN ?= $(TARGET)/debug/catena
TESTS := $(CARGO) test --package catena-tests

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run a standalone broker (options: make run ARGS="--listen 0.0.0.0:1883")
	$(CARGO) run --release -- standalone $(ARGS)

.PHONY: test
test: broker clients-installed etcd-installed ## Run all tests
	$(CARGO) test --workspace --no-fail-fast

.PHONY: check
check: protoc ## Check the formatting and run the linter
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: conformance
conformance: broker ## Test the statements of MQTT 3.1.1 and 5
	$(TESTS) --test conformance

.PHONY: clients
clients: broker clients-installed ## Test with real clients: mosquitto, paho, MQTT.js, rumqttc
	$(TESTS) --test clients

.PHONY: bad-input
bad-input: broker ## Test with broken packets, slow clients and floods
	$(TESTS) --test bad_input

.PHONY: sim
sim: ## Simulate replication under faults (options: make sim SEEDS=10000, make sim SEED=4711)
	$(if $(SEED),CATENA_SIM_TRACE=1 CATENA_SIM_SEED=$(SEED)) $(if $(SEEDS),CATENA_SIM_SEEDS=$(SEEDS)) \
		$(TESTS) --test simulation -- promises sessions --nocapture

.PHONY: bench
bench: ## Run the micro benchmarks
	$(CARGO) bench --package catena-mqtt --package catena-shard

.PHONY: compare
compare: clients-installed ## Compare throughput and latency with mosquitto
	$(CARGO) build --release --package catena
	CATENA_BIN=$(TARGET)/release/catena tests/bench/compare.sh

.PHONY: fuzz
fuzz: ## Fuzz the codec (needs nightly Rust and cargo-fuzz; FUZZ_SECONDS for each target)
	@cd services/core/mqtt && for target in $$($(CARGO) +nightly fuzz list); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

.PHONY: rules
rules: ## Take the rules that are now tested off the list of untested rules
	CATENA_HOUSE_SHRINK=1 $(TESTS) --test house

.PHONY: broker
broker: protoc
	$(CARGO) build --workspace

.PHONY: clients-installed
clients-installed:
	@tests/setup/clients.sh

.PHONY: etcd-installed
etcd-installed:
	@tests/setup/etcd.sh

.PHONY: protoc
protoc:
	@tests/setup/protoc.sh
