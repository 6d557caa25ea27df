//! The `annals` command: an event log from a shell.
//!
//! The commands live in `commands/`, one file each; what they accept stands in `args.rs`, what can go
//! wrong and which exit code it gets in `error.rs`. Results go to stdout, everything else to stderr.
//!
//! It is a library so that other benchmarks can use [`mod@bench`], and nothing else of it is public: the
//! binary is one call of [`main`].

mod args;
pub mod bench;
mod commands;
mod damage_run;
mod error;
mod event_line;
mod figures;
mod log_report;
mod output;
mod progress;
mod stopwatch;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

/// Runs the command that the arguments of this process name, and answers its exit code.
pub fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => error::exit_code(commands::run(args)),
        Err(answer) => error::exit_code_of_usage(&answer),
    }
}
