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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: protoc ## Run a standalone broker (options: make run ARGS="--listen 0.0.0.0:1883")
	$(CARGO) run --release -- standalone $(ARGS)

.PHONY: cluster
cluster: etcd-installed protoc ## Run a whole cluster on this machine (options: make cluster ARGS="--backends 5")
	$(CARGO) build --release --package catena
	CATENA_BIN=$(TARGET)/release/catena $(CARGO) run --quiet --package catena-tests --bin cluster -- $(ARGS)

.PHONY: test
test: broker clients-installed etcd-installed prometheus-installed ## Run all tests
	$(CARGO) test --workspace --no-fail-fast

.PHONY: check
check: protoc ## Check the formatting and run the linter
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: deny
deny: deny-installed ## Check the licences and the sources of all dependencies
	.tools/deny/bin/cargo-deny --log-level error check licenses bans sources

.PHONY: chart
chart: broker helm-installed ## Render the Helm chart in many ways and look at what comes of it
	.tools/helm/bin/python tests/deploy/chart.py

.PHONY: chart-schema
chart-schema: ## Write the schema of the chart's values from those of the resources
	tests/deploy/schema.py --write

.PHONY: image
image: protoc containers-installed ## Build the image of a release build, for docker run and compose
	$(CARGO) build --release --package catena
	docker/image.sh $(TARGET)/release/catena

.PHONY: image-test
image-test: export PYTHONDONTWRITEBYTECODE = 1
image-test: broker etcd-installed containers-installed helm-installed ## Build the image of a test build, run it, and a cluster of it that loses processes
	.tools/helm/bin/python tests/deploy/image.py

.PHONY: dist
dist: protoc helm-installed ## Compile a release, and pack it, the chart and their checksums into dist/
	$(CARGO) build --release --locked --package catena
	HELM=.tools/helm/bin/helm packaging/dist.sh $(TARGET)/release/catena

.PHONY: documents
documents: broker helm-installed ## Hold the commands in the documents against the binary, and pack a release of a test build
	tests/deploy/commands.py
	.tools/helm/bin/python tests/deploy/dist.py

.PHONY: conformance
conformance: broker ## Test the statements of MQTT 3.1.1 and 5
	$(TESTS) --test conformance

.PHONY: clients
clients: broker clients-installed ## Test with real clients: mosquitto, paho, MQTT.js, rumqttc
	$(TESTS) --test clients

.PHONY: security
security: broker clients-installed ## Test who gets in and what they may do, with real clients
	$(TESTS) --test security

.PHONY: observe
observe: broker etcd-installed prometheus-installed ## Test metrics, health, logs, traces and the probe
	$(TESTS) --test observe

.PHONY: bad-input
bad-input: broker ## Test with broken packets, slow clients and floods
	$(TESTS) --test bad_input

.PHONY: sim
sim: ## Simulate replication under faults (options: make sim SEEDS=10000, make sim SEED=4711)
	$(if $(SEED),CATENA_SIM_TRACE=1 CATENA_SIM_SEED=$(SEED)) $(if $(SEEDS),CATENA_SIM_SEEDS=$(SEEDS)) \
		$(TESTS) --test simulation -- promises sessions --nocapture

.PHONY: crash
crash: broker etcd-installed ## Kill everything at random points and look whether anything is missing (options: make crash CRASHES=200 SEED=4711)
	$(if $(SEED),CATENA_CRASH_SEED=$(SEED)) CATENA_CRASHES=$(or $(CRASHES),200) $(TESTS) --test crash -- --nocapture --test-threads 1

.PHONY: faults
faults: broker etcd-installed hosts-installed ## Break a cluster in every way (options: make faults SEED=4711 FAULTS=100 ONLY=random LOAD="--rate 5000"; ONLY=everything_is_restarted BEFORE=OLDER_CATENA)
	$(if $(BEFORE),CATENA_BIN_BEFORE=$(BEFORE)) $(if $(SEED),CATENA_FAULT_SEED=$(SEED)) $(if $(FAULTS),CATENA_FAULTS=$(FAULTS)) $(if $(LOAD),CATENA_FAULT_LOAD="$(LOAD)") \
		$(TESTS) --test faults --test faults_all -- --nocapture --test-threads 1 $(ONLY)

.PHONY: bench
bench: ## Run the micro benchmarks
	$(CARGO) bench --package catena-mqtt --package catena-shard

.PHONY: compare
compare: clients-installed protoc ## Compare throughput and latency with mosquitto
	$(CARGO) build --release --package catena
	CATENA_BIN=$(TARGET)/release/catena tests/bench/compare.sh

.PHONY: bench-persistence
bench-persistence: protoc ## Measure what keeping everything on disk costs, by persistence.sync (options: ARGS="--cluster --rounds 5 --directory /mnt/disk")
	$(CARGO) build --release --package catena
	CATENA_BIN=$(TARGET)/release/catena PYTHONDONTWRITEBYTECODE=1 tests/bench/persistence.py $(ARGS)

.PHONY: compare-cluster
compare-cluster: clients-installed etcd-installed nats-installed cluster-built ## Compare a replicated cluster with mosquitto and NATS
	tests/bench/replicated.py $(ARGS)

.PHONY: compare-tls
compare-tls: protoc ## Measure what TLS, client certificates and WebSockets cost by connection (needs openssl)
	$(CARGO) build --release --package catena
	CATENA_BIN=$(TARGET)/release/catena PYTHONDONTWRITEBYTECODE=1 tests/bench/secure.py $(ARGS)

.PHONY: overhead
overhead: protoc ## Measure what metrics and 1 % of traces cost a QoS 1 message (options: make overhead ARGS="--rounds 9")
	$(CARGO) build --release --package catena
	CATENA_BIN=$(TARGET)/release/catena PYTHONDONTWRITEBYTECODE=1 tests/bench/observe.py $(ARGS)

.PHONY: failover
failover: etcd-installed cluster-built ## Measure how long clients wait when a head or a tail is lost
	tests/bench/failover.py $(ARGS)

.PHONY: scale
scale: etcd-installed cluster-built ## Measure memory, joining and the wire with 100,000 sessions
	tests/bench/scale.py $(ARGS)

.PHONY: restart
restart: protoc ## Measure how long a shard takes to serve again with a million retained messages (options: make restart ARGS="--retained 100000")
	$(CARGO) build --release --package catena
	CATENA_BIN=$(TARGET)/release/catena PYTHONDONTWRITEBYTECODE=1 tests/bench/restart.py $(ARGS)

.PHONY: soak
soak: etcd-installed cluster-built ## Overload the broker under each memory profile, and fill one long queue (options: make soak ARGS="--seconds 60")
	tests/bench/soak.py $(ARGS)
	tests/bench/soak.py --queue $(ARGS)

.PHONY: fuzz
fuzz: ## Fuzz the codec (needs nightly Rust and cargo-fuzz; FUZZ_SECONDS for each target)
	@cd services/core/mqtt && for target in $$($(CARGO) +nightly fuzz list); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

.PHONY: rules
rules: ## Take the rules that are now tested off the list of untested rules
	CATENA_HOUSE_SHRINK=1 $(TESTS) --test house

.PHONY: schema
schema: ## Write the JSON Schemas of the resources from their types
	CATENA_SCHEMA_WRITE=1 $(CARGO) test --package catena-resources --test schema

.PHONY: protocol
protocol: ## Write down what a release says to others, from which later versions may not depart
	CATENA_PROTOCOL_WRITE=1 $(CARGO) test --package catena-proto --test compatibility

.PHONY: broker
broker: protoc
	$(CARGO) build --workspace

# What the benchmarks of a cluster start: the broker as users run it, and who starts it.
.PHONY: cluster-built
compare-cluster failover scale soak: export CATENA_BIN = $(TARGET)/release/catena
compare-cluster failover scale soak: export CATENA_CLUSTER_BIN = $(TARGET)/debug/cluster
compare-cluster failover scale soak: export PYTHONDONTWRITEBYTECODE = 1
cluster-built: protoc
	$(CARGO) build --release --package catena
	$(CARGO) build --package catena-tests --bin cluster

.PHONY: clients-installed
clients-installed:
	@tests/setup/clients.sh

.PHONY: containers-installed
containers-installed:
	@tests/setup/containers.sh

.PHONY: deny-installed
deny-installed:
	@tests/setup/deny.sh

.PHONY: etcd-installed
etcd-installed:
	@tests/setup/etcd.sh

.PHONY: helm-installed
helm-installed:
	@tests/setup/helm.sh

.PHONY: hosts-installed
hosts-installed:
	@tests/setup/hosts.sh

.PHONY: nats-installed
nats-installed:
	@tests/setup/nats.sh

.PHONY: prometheus-installed
prometheus-installed:
	@tests/setup/prometheus.sh

.PHONY: protoc
protoc:
	@tests/setup/protoc.sh
