#!/bin/sh
# Writes src/<arch>.rs again from the kernel's header. Needs bindgen (`cargo install bindgen-cli`), libclang and, for the
# ARM ones, Debian's libc6-dev-arm64-cross and libc6-dev-armhf-cross. Run by a maintainer, never by a build.
set -eu
cd "$(dirname "$0")"
gen() { # arch target include-dir...
    arch=$1 target=$2; shift 2
    bindgen wrapper.h -o "src/$arch.rs" --rust-target 1.77 --no-doc-comments --use-core \
        --allowlist-type '(v4l2|v4l)_.*|time_t|suseconds_t|timeval|timespec' --allowlist-var '(V4L2|VIDEO|VFL)_.*' \
        -- --target="$target" "$@"
}
gen x86_64 x86_64-unknown-linux-gnu
gen aarch64 aarch64-unknown-linux-gnu -isystem /usr/aarch64-linux-gnu/include
gen arm arm-unknown-linux-gnueabihf -isystem /usr/arm-linux-gnueabihf/include
