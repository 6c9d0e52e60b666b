# go-overlay. `make help` lists what there is to do.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

# The target is named in .cargo/config.toml, so that the release binary is static; its folder follows.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
BINARY = $(or $(CARGO_TARGET_DIR),target)/$(HOST)/release/go-overlay
BINDIR = $(DESTDIR)$(PREFIX)/bin

# The largest the release binary may be, in bytes.
MAX_SIZE = 3000000

# The tests that are quick and need nothing installed.
QUICK_TESTS = --lib --test architecture --test supervisor

.PHONY: help build install uninstall run test torture races faults bench compare sim worlds oracle planted fuzz check setup lint verify clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done
	@echo
	@echo '`make test` and `make faults` begin with `make setup`, which installs about 500 MB as root on Debian.'
	@echo '`make build`, `make run` and `make check` install nothing. The binary: $(BINARY)'

build: ## Build the static release binary
	$(CARGO) build --release --locked
	@echo "built $(BINARY)"

install: build ## Install it under PREFIX (/usr/local), with DESTDIR in front
	install -d "$(BINDIR)"
	install -m 755 "$(BINARY)" "$(BINDIR)/go-overlay"

uninstall: ## Remove what `make install` installed
	rm -f "$(BINDIR)/go-overlay"

# Without a shell between make and the daemon, which ends with 0 on Ctrl-C: of a shell that dies of SIGINT make says
# that the target failed.
run: build ## Build it and supervise docs/examples/run.toml; Ctrl-C ends it
	@echo "in a second terminal: $(abspath $(BINARY))$${GO_OVERLAY_SOCKET:+ --socket $$GO_OVERLAY_SOCKET} list"
	@echo "there too: status web, logs -f, stop web, start web, --help; Ctrl-C in this one ends it"
	@exec "$(BINARY)" --no-install --config docs/examples/run.toml

# Signals that the caller ignores are inherited (`nohup make test`, a job in the background of a script); the tests send
# them. GNU env resets them.
WITH_SIGNALS = $(shell env --default-signal true 2>/dev/null && echo env --default-signal)

# By another name: `make -n` runs each line that names it.
AGAIN = $(MAKE)

test: setup build ## Run every test against real servers and verify the binary (setup installs 500 MB)
	@status=0; \
	GO_OVERLAY_PROGRAM="$(abspath $(BINARY))" $(WITH_SIGNALS) $(CARGO) test --locked --no-fail-fast || status=$$?; \
	$(AGAIN) --no-print-directory verify || status=$$?; \
	exit $$status

# How long each torture lasts, and the choices to repeat: `make torture SECONDS=600 SEED=7`.
SECONDS ?= 60
SEED ?=

torture: build ## Torture the daemon as PID 1, a minute a kind (SECONDS=, SEED=)
	GO_OVERLAY_PROGRAM="$(abspath $(BINARY))" GO_OVERLAY_TORTURE_SECONDS="$(SECONDS)" GO_OVERLAY_TORTURE_SEED="$(SEED)" \
		$(CARGO) test --locked --test torture -- --nocapture

# Words in the names of the tests: paths that are swapped, numbers that come round, and starts that are attacked, while a
# daemon works on.
RACES = swapped numbers:: starts::a_user_that

races: build ## Give each race at least 10,000 tries, attacks on starts 100,000, against a real daemon (as root)
	GO_OVERLAY_PROGRAM="$(abspath $(BINARY))" GO_OVERLAY_RACES=all \
		$(CARGO) test --locked --test security -- --nocapture $(RACES)

# What runs under valgrind is linked dynamically, so that its allocator is seen.
VALGRIND_BUILD = $(or $(CARGO_TARGET_DIR),target)/valgrind

faults: setup build ## Make each system call fail with each of its errors, and run it under valgrind
	RUSTFLAGS="-C target-feature=-crt-static --cfg valgrind" $(CARGO) build --locked --target-dir "$(VALGRIND_BUILD)"
	GO_OVERLAY_PROGRAM="$(abspath $(BINARY))" GO_OVERLAY_FAULTS=all \
		GO_OVERLAY_VALGRIND_PROGRAM="$(abspath $(VALGRIND_BUILD))/$(HOST)/debug/go-overlay" \
		$(CARGO) test --locked --test faults -- --include-ignored --nocapture

bench: build ## Measure the pure parts, and the log path and restarts beside their floors
	GO_OVERLAY_PROGRAM="$(abspath $(BINARY))" $(CARGO) bench --locked --bench micro --bench log --bench restart

compare: build ## Measure beside other supervisors, which it installs where it can
	@bench/setup.sh
	GO_OVERLAY_PROGRAM="$(abspath $(BINARY))" $(CARGO) bench --locked --bench compare

# So many seeds from SEED (1) on, with so many steps each.
SEEDS ?= 10000
STEPS ?= 150

sim: ## Simulate the supervisor (SEED=, SEEDS=, STEPS=); a failure tells how to play it again
	SEED=$(SEED) SEEDS=$(SEEDS) STEPS=$(STEPS) $(CARGO) test --locked --profile simulation --test simulation \
		whatever_happens -- --nocapture

# States of each small world that are looked at.
STATES ?= 60000

worlds: ## Search small worlds for a state that breaks an invariant (STATES=, WORLD=)
	STATES=$(STATES) $(CARGO) test --locked --profile simulation --test simulation every_order -- --nocapture

# Expressions that are looked for instant by instant.
CASES ?= 50000

oracle: ## Compare the times of schedules with a look at each instant (CASES=, SEED=)
	GO_OVERLAY_CASES=$(CASES) GO_OVERLAY_SEED=$(or $(SEED),1) $(CARGO) test --locked --profile simulation --lib \
		schedule::tests::oracle -- --nocapture

planted: ## Show that the simulation finds each fault of tests/planted
	@tests/planted/run.sh

fuzz: ## Fuzz one target for a while: make fuzz TARGET=config SECONDS=60 (docs/TESTING.md)
	@FUZZ_SECONDS="$(or $(SECONDS),60)" tests/fuzz/run.sh "$(TARGET)"

check: lint ## Check format and lints and run the quick tests; needs nothing installed
	$(CARGO) test --locked $(QUICK_TESTS)

setup: ## Install what the tests need, 500 MB (as root on Debian; elsewhere it says what is missing)
	@tests/setup.sh

lint: ## Check format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) rustdoc --locked --lib -- --document-private-items

verify: lint build ## Check format, lints, and that the binary is static and small
	@if readelf -l "$(BINARY)" | grep -q INTERP; then \
		echo "cannot ship $(BINARY): it needs a dynamic loader" >&2; exit 1; fi
	@size=$$(stat -c %s "$(BINARY)"); if [ "$$size" -gt $(MAX_SIZE) ]; then \
		echo "cannot ship $(BINARY): $$size bytes are more than $(MAX_SIZE)" >&2; exit 1; fi; \
		echo "verified: static, $$size bytes"

clean: ## Remove everything that was built
	$(CARGO) clean
