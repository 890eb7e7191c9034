# The front door. `make run` and `make test` do all of their own set-up; `make help` lists the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run llmock build console check check-deploy check-install audit cluster test web-test chaos soak storm bench bench-console bench-exports bench-relay bench-timing bench-sim bench-usage-list fuzz golden deps clean-deps

# The lock file is part of the sources: a build that would change it stops and says so.
CARGO := cargo
LOCKED := --locked

# Both crates in one command, always: alone each would have other features of their dependencies, and build them again.
BENCH := $(CARGO) test --profile measure $(LOCKED) --package ledger --package projections --lib

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

run: deps console ## set up what is missing, then run the gateway on http://127.0.0.1:3000 (Ctrl-C drains and stops)
	@test -x target/quick/nexusroute || echo "building nexusroute (the first build takes some minutes)"
	@$(CARGO) build --profile quick $(LOCKED) --package api
	@exec target/quick/nexusroute serve

build: deps console ## the release binary for a deployment, target/release/nexusroute
	$(CARGO) build --release $(LOCKED) --package api

llmock: ## a pretended provider on http://127.0.0.1:9000/v1, to try the gateway without a provider's key
	@tools/setup-test-clients.sh python
	@exec .deps/bin/python -m llmock.cli serve --host 127.0.0.1 --port 9000 --log-level warning

console: ## the web console, built into web/dist, from where the binary takes it
	@tools/build-console.sh

check: console ## format, lints with warnings denied, types of the console, licences
	@tools/need.sh cargo cc python3
	cd web && npm run --silent check
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- --deny warnings
	@tools/licences.py
	@tools/audit.py

check-deploy: deps ## every file of deploy/, judged by the program that it is for: nginx, promtool, docker-compose, systemd, nats, Kubernetes
	@tools/setup-deploy.sh
	@tools/check-deploy.sh

cluster: deps ## a whole cluster on loopback behind nginx, until Ctrl-C; CHECK=1 restarts it under load, sends a canary its share, verifies, and ends
	@tools/setup-databases.sh
	@tools/setup-nginx.sh
	@ls target/*/nexusroute >/dev/null 2>&1 || $(MAKE) build
	@tools/cluster.py $(if $(CHECK),check,run)

# One build of everything, so that the tests start the same binary that was just linted and no crate is built twice
# with other features; then all tests, the system tests among them, against target/debug/nexusroute.
test: check deps ## everything: check, then all tests against the real binary, NATS and clients
	@tools/need.sh bash curl
	@tools/setup-test-clients.sh
	@tools/setup-databases.sh
	@tools/setup-deploy.sh
	@tools/check-deploy.sh
	$(CARGO) build $(LOCKED) --workspace --all-targets
	$(CARGO) test $(LOCKED) --workspace --all-targets --no-fail-fast
	@tools/test-console.sh

web-test: deps console ## the console: its units, and each page in a real browser against the real binary (pictures in web/shots)
	@tools/setup-test-clients.sh python
	$(CARGO) build $(LOCKED) --workspace --all-targets
	@tools/test-console.sh

check-install: deps ## an outsider's installation: deploy/install.sh on a bare Debian (debootstrap, as root; some minutes)
	@ls target/*/nexusroute >/dev/null 2>&1 || $(MAKE) build
	@tools/check-install.sh

audit: ## known holes in what the console and the binary are made of, asked of their registries
	@tools/licences.py
	@tools/audit.py
	@tools/audit.py online

# Of each kind of fault so many rounds; `make test` runs a few. SEED=… repeats a kind's run.
ROUNDS := 100

chaos: deps ## kill everything under load and audit what is left, ROUNDS=100 of each kind (about an hour and a half)
	@tools/setup-databases.sh
	$(CARGO) build $(LOCKED) --package api
	ROUNDS=$(ROUNDS) $(CARGO) test $(LOCKED) --package system-tests --test system chaos:: -- --nocapture --test-threads 1

# The build for a first run: a debug build would be busy with itself.
soak: deps ## mixed load at seven tenths of what the machine can do, with something killed all the while: DURATION=3600 seconds; memory, files and tasks must not grow
	@tools/setup-databases.sh
	$(CARGO) build --profile quick $(LOCKED) --package api
	DURATION=$(or $(DURATION),3600) NEXUSROUTE_BIN=$(or $(NEXUSROUTE_BIN),$(CURDIR)/target/quick/nexusroute) $(CARGO) test $(LOCKED) --package system-tests --test system soak::under -- --nocapture

storm: deps ## callbacks of every channel a hundred times over three processes that are killed meanwhile, ROUNDS=20 (ten minutes)
	@tools/setup-databases.sh
	$(CARGO) build $(LOCKED) --package api
	ROUNDS=$(ROUNDS) $(CARGO) test $(LOCKED) --package system-tests --test system payments::storm:: -- --nocapture

bench: deps ## metering and projection beside yardsticks measured in the same run, as ratios (some minutes, on a quiet machine)
	@tools/setup-databases.sh
	$(BENCH) -- meter::bench projection_bench rebuild_bench --ignored --nocapture --test-threads 1

bench-exports: deps ## a million lines of the journal into a file of each format: seconds, and the most memory that it took (must be 200 MiB at most)
	$(CARGO) test --profile measure $(LOCKED) --package api --lib -- bench_a_million_lines --ignored --nocapture --test-threads 1

bench-relay: deps ## the release binary beside nginx and direct calls, and 5,000 streams held open (about ten minutes after its build, on a quiet machine of two cores; ARGS="rounds rounds=3 connections=1,16" for a part)
	@tools/need.sh taskset prlimit
	@tools/setup-nginx.sh
	$(CARGO) build --release $(LOCKED) --package api
	$(CARGO) build --profile measure $(LOCKED) --package system-tests --features system-tests/bench
	NEXUSROUTE_BIN=$(CURDIR)/target/release/nexusroute taskset --cpu-list 1 target/measure/bench-relay $(ARGS)

bench-timing: deps ## how long answers take for known and for unknown e-mail addresses, TRIES=500 of each (some minutes, on a quiet machine)
	TRIES=$(or $(TRIES),500) $(CARGO) test $(LOCKED) --workspace --lib nobody_learns_it_from_the_clock -- --ignored --nocapture

fuzz: deps ## odd requests to every route of the API for ten minutes, FUZZ_SECONDS=600; `make test` sends a few
	@tools/setup-test-clients.sh python
	$(CARGO) build $(LOCKED) --package api
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(CARGO) test $(LOCKED) --package system-tests --test system fuzz:: -- --nocapture

bench-sim: ## a million steps of the lease protocol over a thousand seeds
	$(BENCH) -- bench_a_thousand_seeds --ignored --nocapture --test-threads 1

# A name of its own: `or` would take the comma for its own.
LISTED_ON := Sqlite,Postgres

bench-usage-list: deps ## a million calls in SQLite and PostgreSQL: every page and filter of the log of calls, which must take 300 ms at most
	@tools/setup-databases.sh
	NEXUSROUTE_BENCH_ON=$(or $(NEXUSROUTE_BENCH_ON),$(LISTED_ON)) $(CARGO) test --profile measure $(LOCKED) --package projections --lib -- bench_a_million_calls --ignored --nocapture --test-threads 1

bench-console: deps console ## how soon the console's first views are painted at a quarter of the processor (must be 1.5 s at most), on a quiet machine
	@tools/setup-browser.sh
	$(CARGO) build --profile quick $(LOCKED) --package api
	cd web && NEXUSROUTE_BIN=$(CURDIR)/target/quick/nexusroute node e2e/bench.mjs

golden: ## write golden files for event shapes that have none yet (existing ones are never changed), docs/openapi.json and docs/permissions.md
	NEXUSROUTE_GOLDEN=write $(CARGO) test $(LOCKED) --package ledger golden
	NEXUSROUTE_GOLDEN=write $(CARGO) test $(LOCKED) --package api the_committed_

deps: ## what the gateway needs besides Rust: a nats-server
	@tools/need.sh cargo cc
	@tools/setup-nats.sh

clean-deps: ## remove what the set-up installed (.deps); data and builds stay
	rm -rf .deps
