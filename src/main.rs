//! Parses the command line, dispatches, and turns the outcome into an exit code.

use std::process::ExitCode;

/// Counts allocations for `watchpost bench`, and nothing otherwise.
#[cfg(feature = "demo")]
#[global_allocator]
static ALLOCATOR: watchpost::cli::Allocator = watchpost::cli::Allocator;

fn main() -> ExitCode {
    watchpost::cli::main()
}
