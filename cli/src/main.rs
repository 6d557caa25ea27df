//! The `annals` command; see the library of this crate.

use std::process::ExitCode;

/// Counts the heap for `annals bench`, and only while that asks for it.
#[global_allocator]
static ALLOCATOR: annals_cli::bench::CountingAllocator = annals_cli::bench::CountingAllocator;

fn main() -> ExitCode {
    annals_cli::main()
}
