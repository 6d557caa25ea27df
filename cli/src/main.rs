//! The `annals` command; see the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    annals_cli::main()
}
