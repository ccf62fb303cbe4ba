# What a person types. Everything here is one line over cargo, cargo xtask and scripts/setup.
#
# One profile (release) serves dist, clippy, doc and the tests of `make test`: on two cores a second build of all
# dependencies would cost more than everything else together, and it is the shipped code that gets tested.
# `make check` is for the loop while you work, and uses dev: docs/decisions/0002.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=

.DEFAULT_GOAL := build
.PHONY: build quickstart check test lint bench install clean

build: ## banger, bangerd, banger-gateway and banger-agent side by side in target/dist
	$(CARGO) xtask dist

quickstart: ## from a fresh checkout to a guest's uname
	scripts/setup run
	$(CARGO) xtask dist
	target/dist/banger vm run --rm -- uname -a

check: ## while you work: formatting, clippy and unit tests, in the dev profile; no VM
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) nextest run --workspace --exclude e2e

lint: ## what needs no VM
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --document-private-items
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources

test: ## everything; .ci/run is this and nothing else
	scripts/setup test
	$(MAKE) --no-print-directory lint
	$(CARGO) xtask dist
	$(CARGO) nextest run --release --workspace --config .config/tests.toml

bench: ## boot and exec times against bare QEMU
	scripts/setup run
	$(CARGO) xtask dist
	$(CARGO) run --release --package bench

install: build ## PREFIX=/usr/local; the four stay beside each other, bin/ gets links
	install -d "$(DESTDIR)$(PREFIX)/lib/banger" "$(DESTDIR)$(PREFIX)/bin"
	install -m 0755 target/dist/banger target/dist/bangerd target/dist/banger-gateway target/dist/banger-agent "$(DESTDIR)$(PREFIX)/lib/banger/"
	ln -sf ../lib/banger/banger ../lib/banger/bangerd "$(DESTDIR)$(PREFIX)/bin/"

clean:
	$(CARGO) clean
