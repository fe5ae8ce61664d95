//! Parses the command line, dispatches, and turns the outcome into an exit code.

use std::process::ExitCode;

/// Wipes what is freed; counts allocations for `watchpost bench`.
#[cfg(feature = "demo")]
#[global_allocator]
static ALLOCATOR: watchpost::cli::Allocator = watchpost::cli::Allocator;

/// Wipes what is freed.
#[cfg(not(feature = "demo"))]
#[global_allocator]
static ALLOCATOR: watchpost::locked::WipingAllocator = watchpost::locked::WipingAllocator;

fn main() -> ExitCode {
    watchpost::cli::main()
}
