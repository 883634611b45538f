# Stead. `make up` is the first minute; `make test` is what CI runs.
.POSIX:
SHELL = /bin/sh

CARGO ?= cargo
STEAD = target/release/stead

.PHONY: up demo test test-ipvs deps clients guest build static image deb bench soak fuzz

up: deps build
	$(STEAD) up --demo

demo: deps build
	$(STEAD) up --demo --check --name stead-demo

# What building, labs and tests use, by the command that shows it is there; only what is missing is installed.
deps:
	@sh build/install-missing.sh

# Other clients of the API that tests drive, below target/clients.
clients:
	@sh build/get-clients.sh

# A kernel with IPVS for tests that boot it by emulation, below target/guest.
guest: deps
	@sh build/guest/get-kernel.sh

build:
	$(CARGO) build --locked --release --bin stead

# A binary without shared libraries, for images and for machines older than this one; built apart, since its C parts differ.
HOST = $$(rustc -vV | sed -n 's/^host: //p')
STATIC = target/static/$(HOST)/release/stead
static: deps
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --release --bin stead --target "$(HOST)" --target-dir target/static

# target/stead.tar: an OCI image layout, for `docker load`, `ctr images import` and `stead image load`.
image: static
	sh build/make-image.sh "$(STATIC)" target/stead.tar

# target/stead_VERSION_ARCHITECTURE.deb
deb: static
	sh build/make-deb.sh "$(STATIC)" target

# Lints, tests and the demo, over one debug and one release build.
test: deps clients guest build
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	timeout 120 $(STEAD) up --demo --check --name stead-ci
	$(CARGO) test --locked --workspace --no-fail-fast

# The whole behaviour suite for IPVS, and what else this machine's kernel may lack, in an emulated machine: about a quarter of an hour.
test-ipvs: guest
	STEAD_GUEST=all $(CARGO) test --locked -p stead-dataplane --test it -- guest --nocapture

# The figures of docs/performance.md. KUBE_PROXY, KUBE_APISERVER and ETCD name programs that run beside ours.
bench: deps
	$(CARGO) bench --locked -p stead-cli --bench figures

# What CI runs a few per cent of: hundreds of kills, thousands of power cuts, of judged histories and of turned bits. KUBE_PROXY names the
# program that is taken over from.
soak: deps
	STEAD_KILLS=200 $(CARGO) test --locked --release -p stead-cli --test it faults
	STEAD_PROXY_KILLS=100 STEAD_TAKEOVERS=5 STEAD_HEALINGS=5 $(CARGO) test --locked --release -p stead-cli --test it forwarding -- --nocapture
	STEAD_FAULT_SHARE=100 STEAD_SCALINGS=500 $(CARGO) test --locked --release -p stead-dataplane --test it -- faults scaling --nocapture
	STEAD_CRASH_CUTS=5000 STEAD_HISTORIES=2000 STEAD_FLIPS=1000 $(CARGO) test --locked --release -p stead-store --test it -- crash histories flips

# What `test` does for less than half a second for each decoder. FUZZ_SECONDS is the time for each.
FUZZ_SECONDS = 60
fuzz: deps
	STEAD_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --release -p stead-fuzz --test it -- --nocapture
	STEAD_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --release -p stead-apiserver --lib any_ -- --nocapture
