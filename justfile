# The few things one does with this package; CONTRIBUTING.md says when. `just` lists them.
# Each is one or two plain cargo commands, so that nobody needs `just`.

set shell := ["bash", "-euo", "pipefail", "-c"]

[private]
default:
    @just --list --unsorted

# What a machine with a Rust toolchain and a C compiler still lacks
setup:
    rustup component add rustfmt clippy
    cargo fetch --locked

# Format, lints and licences: what must be clean before a commit
check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    python3 .ci/licences.py
    .ci/guards

# Every test, or those whose name contains FILTER
test FILTER="":
    cargo test {{ FILTER }}

# The whole chain on bundled input: no camera, no broker
demo *ARGS:
    cargo demo {{ ARGS }}

# Time and memory per stage on this machine: pipeline, detect, embed or search
bench WHAT="pipeline" *ARGS:
    cargo run --quiet --release -- bench {{ WHAT }} {{ ARGS }}

# The daemon as it is packaged for a board: aarch64, armv7 or x86_64
cross BOARD="aarch64":
    cross/build {{ BOARD }}

# The packaged daemon on an emulated board with cameras
board-test *ARGS:
    cross/board/test {{ ARGS }}

# Licences, advisories, duplicates and sources, where cargo-deny is installed
deny:
    cargo deny --all-features check

# Everything that continuous integration runs
ci:
    .ci/run
