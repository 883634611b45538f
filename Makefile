# Stead. `make up` is the first minute; `make test` is what CI runs.
.POSIX:
SHELL = /bin/sh

CARGO ?= cargo
STEAD = target/release/stead

.PHONY: up demo test deps build bench soak fuzz

up: deps build
	$(STEAD) up --demo

demo: deps build
	$(STEAD) up --demo --check --name stead-demo

# What building, labs and tests use, by the command that shows it is there; only what is missing is installed.
deps:
	@sh build/install-missing.sh

build:
	$(CARGO) build --locked --release --bin stead

# Lints, tests and the demo, over one debug and one release build.
test: deps build
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --tests -- -D warnings
	timeout 120 $(STEAD) up --demo --check --name stead-ci
	$(CARGO) test --locked --workspace --no-fail-fast
