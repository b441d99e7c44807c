# What a contributor runs. `just` lists the recipes; `.ci/run` installs the tools and runs `just ci`.
set shell := ["bash", "-euo", "pipefail", "-c"]

# The recipes.
default:
    @just --list

# What to run before each commit: format, lints and the unit tests.
check: fmt lint
    cargo test --workspace --locked --lib

# The format.
fmt:
    cargo fmt --all --check

# The lints, of everything.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The lints of a build without the demo and without AWS.
lint-smallest:
    cargo clippy -p tributary --no-default-features --locked -- -D warnings

# Licences, sources and advisories of all dependencies.
deny:
    cargo deny --offline check bans licenses sources
    # Advisories need a database from outside: they are checked where it can be had.
    cargo deny check advisories || echo "SKIPPED: advisories (their database cannot be fetched here, or reports something: see above)"

# All tests.
test:
    cargo test --workspace --locked

# The tests whose names contain this.
test-one NAME:
    cargo test --workspace --locked -- {{NAME}}

# Every fault at every tool; prints the table of docs/reliability.md.
faults:
    cargo test --workspace --locked --test it faults:: -- --nocapture

# Random sequences of everything that can happen, against the model.
model CASES="10000":
    TRIBUTARY_MODEL_CASES={{CASES}} cargo test --workspace --locked --test it model::

# Minutes of faults and kills on every tool at once.
soak MINUTES="3":
    TRIBUTARY_SOAK_MINUTES={{MINUTES}} cargo test --workspace --locked --test it soak:: -- --ignored --nocapture

# The table of docs/performance.md.
bench:
    cargo bench --bench speed

# Simulated tools on this machine, synced.
demo:
    cargo run --release -- demo

# The pages of the crates.
docs:
    cargo doc --workspace --no-deps --open

# The binary that is shipped: target/dist/tributary.
release:
    cargo build --profile dist --locked

# Everything that guards the main branch.
ci: fmt deny lint test ci-long

# The soak mostly waits, the sequences and the second lints mostly compute: they run side by side.
[private]
ci-long:
    #!/usr/bin/env bash
    set -euo pipefail
    nice just model >target/model.log 2>&1 &
    model=$!
    # A little later, so that the two others are not kept from the build folder until it is done.
    (sleep 15 && exec nice just lint-smallest) >target/lints.log 2>&1 &
    lints=$!
    just soak
    wait "$model" || { cut -c1-2000 target/model.log; exit 1; }
    tail -n 4 target/model.log
    wait "$lints" || { cat target/lints.log; exit 1; }
